"""A view as text: HTML and Markdown by Jinja2 templates, strict about what is undefined.

Whatever a worker has said is untrusted: HTML is escaped by the templates, Markdown by the filter `md`. Writes nothing.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import jinja2
import markupsafe
import vl_convert
from altair import SCHEMA_VERSION

from reports import charts
from reports.view import View

_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>|~#])")


def printable(text: str) -> str:
    """The text with control characters, which neither HTML nor XML allows, made visible."""
    return _UNPRINTABLE.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def escape_markdown(text: object) -> str:
    """One line in which Markdown and HTML see nothing but text."""
    line = " ".join(printable(str(text)).split())
    return _MARKDOWN.sub(r"\\\1", line).replace("@", "@\u200b")


def render_html(view: View) -> str:
    """The report as one HTML page that needs nothing else, not even a network."""
    environment = _environment(autoescape=True)
    return environment.get_template("report.html.j2").render(
        view=view, specs=_specs(view), bundle=markupsafe.Markup(vega_bundle())
    )


def render_markdown(view: View) -> str:
    """The report as Markdown for a pull request."""
    return _environment(autoescape=False).get_template("report.md.j2").render(view=view)


def _specs(view: View) -> dict[str, charts.Spec]:
    comparison = view.source
    found = {
        "speed": charts.forest(view.speeds),
        "overlap": charts.overlaps(comparison),
        "response": charts.response_times(comparison),
        "throughput": charts.throughputs(comparison),
    }
    for row in view.rows:
        found[f"row-{row.name}"] = charts.occupancy(row, workers=comparison.workers)
    shown = [row for row in view.rows if row.source.name in {speed.scenario for speed in view.speeds}]
    if not shown and view.rows:
        shown = [max(view.rows, key=lambda row: row.source.candidate.metrics.overlap_max or 0)]
    if shown:
        found["occupancy"] = charts.occupancy(shown[0], workers=comparison.workers)
    return {name: spec for name, spec in found.items() if spec is not None}


@cache
def vega_bundle() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script that defines `vegaEmbed`; from vl-convert, without a network."""
    version = ".".join(SCHEMA_VERSION.lstrip("v").split(".")[:2])
    script: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=version)
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _environment(*, autoescape: bool) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("reports"),
        autoescape=autoescape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters: dict[str, Any] = {"md": escape_markdown, "printable": printable}
    environment.filters.update(filters)
    if autoescape:
        environment.finalize = lambda value: printable(value) if type(value) is str else value
    return environment

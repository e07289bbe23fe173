"""A view as text: HTML and Markdown by Jinja2 templates; an undefined variable in a template raises an error.

All text from a worker is untrusted: the templates escape it in HTML, the filter `md` in Markdown, and
`poolproof.bridge.safe_text` shows what is not printable. Writes nothing.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from typing import Any

import jinja2
import markupsafe

from poolproof.bridge.safe_text import code_span, escape_markdown, printable
from poolproof.reports.charts.drawing import Drawing, side_names
from poolproof.reports.formats.terms import linker_of
from poolproof.reports.sections.section import Section, Tone
from poolproof.reports.site import Index
from poolproof.reports.view import View

MOST_ON_PAPER = 6
"""The printed report has the evidence of at most this many failed scenarios."""
MOST_MARKDOWN = 60_000
"""The comment limit of a pull request is 65,536 characters; a job's summary may be longer."""


def render_html(view: View) -> str:
    """The report as one HTML page that loads no other file and needs no network."""
    linked = linker_of(view)
    known = {term.name: term.anchor for term in view.glossary if term.anchor.startswith("checker-")}

    def checker(name: str) -> markupsafe.Markup:
        anchor = known.get(name.partition(":")[0])
        if anchor is None:
            return markupsafe.escape(printable(name))
        return markupsafe.Markup('<a class="term" href="#{}">{}</a>').format(anchor, printable(name))

    return render_page(
        "report.html.j2",
        _drawings(view),
        view=view,
        linked=linked,
        checker=checker,
        most_on_paper=MOST_ON_PAPER,
    )


def render_site(index: Index) -> str:
    """The index of many comparisons as one HTML page."""
    return render_page("site.html.j2", _of_sections(index.parts), index=index, linked=printable)


def render_page(template: str, drawings: Mapping[str, Drawing], **values: object) -> str:
    """Render a page from the template, with the scripts, specifications and data that the drawings need.

    The page's content security policy allows only the page's own script, by its hash: an injected script would not run.
    That script unpacks the chart library when the first chart is drawn, so the page answers at once.
    """
    from poolproof.reports.charts import specifications

    sides = ("v1", "v2")
    view = values.get("view")
    if isinstance(view, View):
        sides = side_names(view.source.baseline, view.source.candidate)
    script = _script()
    return (
        _environment(autoescape=True)
        .get_template(template)
        .render(
            **values,
            drawings={
                name: {
                    "kind": drawing.kind,
                    "settings": drawing.settings,
                    "tables": {key: _shown(table.columns()) for key, table in drawing.tables.items()},
                }
                for name, drawing in drawings.items()
            },
            specs=specifications.build_specs((drawing.kind for drawing in drawings.values()), sides),
            bundle=packed_vega(),
            script=markupsafe.Markup(script),
            hashes=markupsafe.Markup(_hash(script)),
        )
    )


def render_markdown(view: View) -> str:
    """The report as Markdown for a pull request, at most `MOST_MARKDOWN` characters; omitted rows are counted."""
    template = _environment(autoescape=False).get_template("report.md.j2")
    open_cells = [(row, cell) for row in view.rows for cell in row.cells if cell.tone in (Tone.BAD, Tone.DOUBT)]
    notable = [row for row in view.rows if row.state is not Tone.GOOD]
    text = ""
    for rows, most in ((list(view.rows), 200), (notable, 50), (notable[:100], 20), (notable[:30], 8), ([], 3), ([], 1)):
        good = sum(row.state is Tone.GOOD for row in view.rows) - sum(row.state is Tone.GOOD for row in rows)
        text = template.render(view=view, rows=rows, most=most, open_cells=open_cells, left_good=good)
        if len(text) <= MOST_MARKDOWN:
            return text
    cut = "\n\nThe rest is in report.html.\n"
    return text[: MOST_MARKDOWN - len(cut)] + cut


def _drawings(view: View) -> dict[str, Drawing]:
    # The keys are the names that the template uses for the drawings.
    found = {f"overview/{number}": drawing for number, drawing in enumerate(view.overview, 1)}
    if view.hero is not None:
        found["hero"] = view.hero
    for row in view.rows:
        found |= {f"row-{row.name}/{drawing.kind}": drawing for drawing in row.drawings}
    return found | _of_sections(view.sections)


def _shown(columns: Any) -> Any:  # noqa: ANN401 - JSON
    if isinstance(columns, str):
        return printable(columns)
    if isinstance(columns, Mapping):
        return {_shown(key): _shown(held) for key, held in columns.items()}
    return list(map(_shown, columns)) if isinstance(columns, list | tuple) else columns


def _of_sections(parts: Iterable[Section]) -> dict[str, Drawing]:
    return {f"{part.key}/{number}": drawing for part in parts for number, drawing in enumerate(part.drawings, 1)}


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


@cache
def _script() -> str:
    return (resources.files("poolproof.reports") / "templates" / "report.js").read_text(encoding="utf-8")


@cache
def vega_bundle() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script that defines `vegaEmbed`; vl-convert contains it, so no network is
    needed.
    """
    import vl_convert
    from altair import SCHEMA_VERSION

    version = ".".join(SCHEMA_VERSION.lstrip("v").split(".")[:2])
    script: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=version)
    return script


@cache
def packed_vega() -> str:
    """The chart library packed by gzip, in base64: a third of its size."""
    return base64.b64encode(gzip.compress(vega_bundle().encode(), mtime=0)).decode()


def _environment(*, autoescape: bool) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("poolproof.reports"),
        autoescape=autoescape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters: dict[str, Any] = {"md": escape_markdown, "code_span": code_span}
    environment.filters.update(filters)
    if autoescape:
        environment.finalize = lambda value: printable(value) if type(value) is str else value
    return environment

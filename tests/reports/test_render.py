"""HTML and Markdown: whole, self-contained, and deaf to what a worker's text would like them to do."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html.parser
import json
import re
import unicodedata
from collections.abc import Callable
from xml.etree import ElementTree

import jinja2
import msgspec
import pytest

from poolproof.bridge.safe_text import escape_markdown, printable
from poolproof.harness.compare.comparison import Comparison, RunResult
from poolproof.harness.compare.glossary import MEANINGS
from poolproof.harness.model.checker import Finding
from poolproof.harness.model.verdict import Verdict
from poolproof.reports.export import render_json
from poolproof.reports.formats.ctrf import render_ctrf
from poolproof.reports.formats.github import workflow_commands
from poolproof.reports.formats.junit import render_junit
from poolproof.reports.formats.render import (
    MOST_MARKDOWN,
    _environment,
    render_html,
    render_markdown,
    vega_bundle,
)
from poolproof.reports.view import build_view

MakeResult = Callable[..., RunResult]
MakeComparison = Callable[..., Comparison]


class Page(html.parser.HTMLParser):
    """Collects what a browser would see: tags, addresses, scripts and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.scripts: dict[str, str] = {}
        self.text = ""
        self._script: str | None = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = dict(attrs)
        self.addresses += [str(given[name]) for name in ("src", "href") if name in given]
        self.handlers += [name for name in given if name.startswith("on")]
        if tag == "script":
            self._script = given.get("id") or f"script-{len(self.scripts)}"
            self.scripts[self._script] = ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._script = None

    def handle_data(self, data: str) -> None:
        if self._script is None:
            self.text += data
        else:
            self.scripts[self._script] += data


def test_the_page_answers_at_its_top_and_needs_nothing_else(make_comparison: MakeComparison) -> None:
    text = render_html(build_view(make_comparison()))
    page = Page(text)
    assert page.text.index("SAFE") < page.text.index("3.98 ×") < page.text.index("it is serial")
    assert all(address.startswith(("#", "data:")) for address in page.addresses)
    assert len(text.encode()) < 1_000_000
    drawings = json.loads(page.scripts["drawings"])
    assert {"hero", "overview/1", "overview/4", "row-parallel_calls/occupancy"} <= drawings.keys()
    assert set(re.findall(r'data-drawing="([^"]+)"', text)) == drawings.keys()
    assert {drawing["kind"] for drawing in drawings.values()} == json.loads(page.scripts["specs"]).keys()


def test_each_number_of_a_guarantee_or_failure_leads_to_its_meaning(make_comparison: MakeComparison) -> None:
    text = render_html(build_view(make_comparison()))
    shown = set(re.findall(r'href="#number-([FG]\d+)"', text))
    assert "F1" in shown
    assert shown <= MEANINGS.keys()
    assert set(re.findall(r'id="number-(\w+)"', text)) == shown
    assert all(MEANINGS[number] in Page(text).text for number in shown)


def test_only_the_page_s_own_scripts_may_run(make_comparison: MakeComparison) -> None:
    text = render_html(build_view(make_comparison()))
    page = Page(text)
    [policy] = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy.startswith("default-src 'none';")
    digest = base64.b64encode(hashlib.sha256(page.scripts["script-3"].encode()).digest()).decode()
    assert re.findall(r"'sha256-[^']*'", policy) == [f"'sha256-{digest}'"]
    assert gzip.decompress(base64.b64decode(page.scripts["vega"])).decode() == vega_bundle()


def test_hostile_text_stays_text_in_html(make_comparison: MakeComparison, hostile: Comparison) -> None:
    page = Page(render_html(build_view(hostile)))
    plain = Page(render_html(build_view(make_comparison())))
    assert page.tags.count("script") == plain.tags.count("script") == 4
    assert "img" not in page.tags
    assert page.handlers == []
    assert "<img src=x onerror=alert(2)>" in page.text
    assert "{{ 7*7 }}" in page.text
    assert "\x00" not in page.text
    assert "\\x1b" in page.text
    bars = json.loads(page.scripts["drawings"])["row-parallel_calls/occupancy"]["tables"]["bars"]
    assert any(word.startswith("</script>") for word in bars["what"]["of"])


def test_hostile_text_stays_text_in_markdown(hostile: Comparison) -> None:
    text = render_markdown(build_view(hostile))
    assert "<script" not in text.replace("\\<script", "")
    assert "<img" not in text.replace("\\<img", "")
    assert "@team" not in text
    tables = [line for line in text.splitlines() if line.startswith("| **")]
    assert len(tables) == 1
    assert len(re.findall(r"(?<!\\)\|", tables[0])) == 5


def test_markdown_tells_the_decision_the_matrix_and_the_evidence(hostile: Comparison) -> None:
    text = render_markdown(build_view(hostile))
    assert text.startswith("## poolproof: UNSAFE\n")
    assert "| scenario | v1 | v2 | answers |" in text
    assert "#### parallel\\_calls on v2: fails" in text
    assert "To run it again: `poolproof run parallel_calls --pool v2" in text


@pytest.mark.parametrize("template", ["report.html.j2", "report.md.j2", "site.html.j2"])
def test_every_template_is_strict_about_what_is_undefined(template: str) -> None:
    with pytest.raises(jinja2.UndefinedError):
        _environment(autoescape=True).get_template(template).render()


def test_markdown_of_a_large_comparison_fits_and_counts_what_it_leaves_out(
    make_comparison: MakeComparison, make_result: MakeResult
) -> None:
    passing = make_comparison(baseline=make_result("v1", Verdict.PASS)).scenarios[0]
    failing = make_comparison(candidate=make_result("v2", Verdict.FAIL), reason="").scenarios[0]
    rows = [msgspec.structs.replace(passing, name=f"good_{n}") for n in range(900)]
    rows += [msgspec.structs.replace(failing, name=f"bad_{n}") for n in range(150)]
    text = render_markdown(build_view(make_comparison(scenarios=tuple(rows))))
    assert 10_000 < len(text) <= MOST_MARKDOWN
    assert "more scenarios are in report.html; 900 of them pass on both pools." in text
    assert re.search(r"^2\d\d more runs that fail or are undecided are in report.html\.$", text, flags=re.MULTILINE)


def test_the_bundle_cannot_end_its_script_element() -> None:
    assert "</script" not in vega_bundle()
    assert "vegaEmbed" in vega_bundle()


def test_control_characters_are_made_visible_and_line_breaks_kept() -> None:
    assert printable("a\x00b\x1b\n\tc\ud800") == "a\\x00b\\x1b\n\tc\\ud800"
    assert escape_markdown("a|b\nc<d>@e") == "a\\|b c\\<d\\>@\u200be"


ATTACK = "\x1b[2J\x9b2J\u202eEFAS\u2066&#64;team&lt;b&gt;<b>\n\n# SAFE\n::error::x\r\udcff"


def test_no_report_has_a_character_that_hides_or_controls(
    make_result: MakeResult, make_comparison: MakeComparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = Finding(checker=ATTACK, verdict=Verdict.FAIL, claim=ATTACK, guarantees=("G1",), examples=(ATTACK,))
    failing = make_result(ATTACK, Verdict.FAIL, findings=(bad,), replay=ATTACK, trouble=ATTACK, folder=ATTACK)
    comparison = make_comparison(candidate=failing)
    row = msgspec.structs.replace(comparison.scenarios[0], name=ATTACK, summary=ATTACK)
    told = {"baseline": ATTACK, "candidate": ATTACK, "reasons": (ATTACK,), "warnings": (ATTACK,), "command": ATTACK}
    view = build_view(msgspec.structs.replace(comparison, scenarios=(row,), **told))
    reports = {
        "html": re.sub(r"<script.*?</script>", "", render_html(view), flags=re.DOTALL),
        "markdown": render_markdown(view).replace("@\u200b", "@"),
        "junit": render_junit(view),
        "ctrf": render_ctrf(view),
        "github": "\n".join(workflow_commands(view)),
    }
    for name, text in reports.items():
        wrong = {sign for sign in text if unicodedata.category(sign) in {"Cc", "Cf", "Cs", "Zl", "Zp"}} - {"\n"}
        assert wrong == set(), name
    ElementTree.fromstring(reports["junit"])
    assert json.loads(reports["ctrf"])["results"]["summary"]["tests"] == 3
    assert not re.search(r"^# SAFE", reports["markdown"], flags=re.MULTILINE)
    assert not re.search(r"^::error::x", reports["github"], flags=re.MULTILINE)
    assert re.search(r"(?<!\\)&#64;", re.sub(r"`[^`\n]*`", "", reports["markdown"])) is None
    tables = [told["tables"] for told in json.loads(Page(render_html(view)).scripts["drawings"]).values()]
    assert tables
    assert not {"\x9b", "\u202e", "\u2066"} & set(json.dumps(tables, ensure_ascii=False))


def test_the_stored_comparison_keeps_its_texts_and_shows_none_that_controls(make_comparison: MakeComparison) -> None:
    attack = ATTACK.replace("\udcff", "")
    told = render_json(build_view(msgspec.structs.replace(make_comparison(), warnings=(attack,))))
    assert json.loads(told)["warnings"] == [attack]
    assert not {unicodedata.category(sign) for sign in told.rstrip("\n")} & {"Cc", "Cf"}

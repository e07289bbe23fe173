"""Words of a report lead to the glossary, and every word that a report can use has its sentence."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from poolproof.harness.checkers import ALL
from poolproof.harness.compare.comparison import Comparison
from poolproof.harness.compare.glossary import TERMS
from poolproof.reports.formats.terms import Linker
from poolproof.reports.view import build_view
from poolproof.reports.view.glossary import CHECKS, MORE_TERMS

MakeComparison = Callable[..., Comparison]
ROOT = Path(__file__).parents[2]


def test_a_word_is_linked_once_and_text_stays_text() -> None:
    link = Linker({"face": ("term", "term-face"), "G7": ("term", "number-G7")})
    assert link("<i> face, Face, surface, G7 & G77") == (
        '&lt;i&gt; <a class="term" href="#term-face">face</a>, Face, surface, '
        '<a class="term" href="#number-G7">G7</a> &amp; G77'
    )


def test_the_longer_word_wins() -> None:
    link = Linker({"answers compared": ("term", "a"), "compared": ("term", "b")})
    assert link("80 answers compared") == '80 <a class="term" href="#a">answers compared</a>'


def test_every_checker_has_a_sentence() -> None:
    names = set()
    for path in [*(ROOT / "harness" / "checkers").rglob("*.py"), *(ROOT / "harness" / "oracle").glob("*.py")]:
        names |= set(re.findall(r'    name: str = "(\w+)"|return f"(\w+):', path.read_text()))
    found = {one or other for one, other in names}
    assert len(found) >= len(ALL)
    assert found <= CHECKS.keys()


def test_the_glossary_of_the_documentation_has_the_terms_of_reports_in_the_same_words() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text()
    assert [term for term, meaning in MORE_TERMS.items() if f"| **{term}** | {meaning}" not in text] == []
    assert [name for name, meaning in CHECKS.items() if f"| `{name}` | {meaning} |" not in text] == []


def test_the_glossary_has_each_term_and_what_the_comparison_mentions(make_comparison: MakeComparison) -> None:
    glossary = build_view(make_comparison()).glossary
    assert {term.name for term in glossary} == {*TERMS, *MORE_TERMS, "F1", "G10", "overlap"}
    assert len({term.anchor for term in glossary}) == len(glossary)
    assert all(re.fullmatch(r"[\w-]+", term.anchor) for term in glossary)

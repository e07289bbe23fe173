"""The view of a comparison: what every format shows, as plain data; renderers decide nothing.

Pure. Contains no HTML and no Markdown; every text is plain, and may contain untrusted output of a worker.
"""

from __future__ import annotations

import msgspec

from poolproof.harness.compare.comparison import Comparison, ScenarioComparison, Speed
from poolproof.reports.charts.drawing import Drawing
from poolproof.reports.evidence.call import CallView
from poolproof.reports.sections.section import Grid, Section, Tone
from poolproof.reports.view.glossary import Term


class Tile(msgspec.Struct, frozen=True, kw_only=True):
    """One key figure: its label, its value, and a note on its meaning."""

    label: str
    figure: str
    note: str
    tone: Tone = Tone.MUTED


class FindingView(msgspec.Struct, frozen=True, kw_only=True):
    """One checker's finding; `reason` says why a failure was declared.

    `key` is its anchor in the page. `links` has for each example the anchor of the call that it names, or "".
    """

    checker: str
    tone: Tone
    word: str
    claim: str
    guarantees: str
    reason: str = ""
    examples: tuple[str, ...] = ()
    key: str = ""
    links: tuple[str, ...] = ()


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One pool in one scenario. `figures` are (name, value) in the order of `FIGURES`."""

    pool: str
    tone: Tone
    word: str
    note: str
    findings: tuple[FindingView, ...]
    figures: tuple[tuple[str, str], ...]
    replay: str
    folder: str = ""
    noted: Grid | None = None


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One scenario on both pools. `state` is the worst tone of its runs, for filtering; `calls` show the failures."""

    name: str
    summary: str
    tags: tuple[str, ...]
    baseline: Cell
    candidate: Cell
    answers: str
    state: Tone = Tone.MUTED
    drawings: tuple[Drawing, ...] = ()
    calls: tuple[CallView, ...] = ()
    recovery: Grid | None = None
    runs: Grid | None = None
    source: ScenarioComparison

    @property
    def cells(self) -> tuple[Cell, Cell]:
        """The baseline's cell, then the candidate's."""
        return self.baseline, self.candidate


class View(msgspec.Struct, frozen=True, kw_only=True):
    """The whole report. `lead` is the result in one sentence, `hero` the timeline chart that shows it.

    `settles` says what would change the decision. `sections` are present only if there are data for them. `rows` begin
    with the failures.
    """

    title: str
    decision: str
    tone: Tone
    headline: str
    lead: str
    hero: Drawing | None
    tiles: tuple[Tile, ...]
    reasons: tuple[str, ...]
    case: tuple[str, ...]
    warnings: tuple[str, ...]
    not_asked: tuple[str, ...]
    settles: tuple[str, ...]
    rows: tuple[Row, ...]
    speeds: tuple[Speed, ...]
    overview: tuple[Drawing, ...]
    ledger: Grid | None
    sections: tuple[Section, ...]
    glossary: tuple[Term, ...]
    facts: tuple[tuple[str, str], ...]
    source: Comparison


FIGURES = (
    "calls",
    "outcomes",
    "throughput",
    "response p50 / p90 / p99",
    "workers at work at the same time",
    "duration",
)

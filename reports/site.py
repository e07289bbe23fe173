"""An index of many stored comparisons: each one's decision, the ratios over time, and the history of every scenario.

Pure. Trends start with the oldest comparison, the table with the newest; unreadable files are listed too.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from poolproof.harness.compare.comparison import Comparison
from poolproof.harness.model.verdict import Decision
from poolproof.reports.charts.drawing import Drawing, Table
from poolproof.reports.sections.section import Grid, Mark, Section, Tone
from poolproof.reports.view.builder import build_view

MOST_COLUMNS = 30
_TONES = {Decision.SAFE: Tone.GOOD, Decision.INCONCLUSIVE: Tone.DOUBT, Decision.UNSAFE: Tone.BAD}
_SIGNS = {Tone.GOOD: "pass", Tone.BAD: "fail", Tone.DOUBT: "unknown", Tone.DECLARED: "declared", Tone.MUTED: "–"}


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """A comparison and its place: `name` is its folder below the site's folder, `page` the address of its report."""

    name: str
    page: str
    comparison: Comparison


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the index: one comparison."""

    number: int
    name: str
    page: str
    made: str
    title: str
    decision: Mark
    speeds: str
    passed: str
    why: str


class Index(msgspec.Struct, frozen=True, kw_only=True):
    """The whole index."""

    lead: str
    entries: tuple[Entry, ...]
    parts: tuple[Section, ...]
    unread: tuple[str, ...]


def build_index(found: Sequence[Stored], unread: Sequence[str] = ()) -> Index:
    """The index of the given comparisons; `unread` has one message for each file that could not be read."""
    runs = sorted(found, key=lambda one: (one.comparison.created_at, one.name))
    entries = tuple(_entry(number, one) for number, one in enumerate(runs, 1))
    parts = [part for part in (_trends(runs), *_histories(runs)) if part is not None]
    if not runs:
        return Index(lead="No stored comparison was found.", entries=(), parts=(), unread=tuple(unread))
    last = runs[-1].comparison
    safe = sum(one.comparison.decision is Decision.SAFE for one in runs)
    lead = f"{len(runs)} comparisons, {safe} of them SAFE. The latest, of {last.created_at}: {last.decision.value}."
    return Index(lead=lead, entries=entries[::-1], parts=tuple(parts), unread=tuple(unread))


def _entry(number: int, one: Stored) -> Entry:
    comparison = one.comparison
    ran = [row.candidate for row in comparison.scenarios if not row.candidate.skipped]
    passed = sum(result.verdict == "pass" for result in ran)
    return Entry(
        number=number,
        name=one.name,
        page=one.page,
        made=comparison.created_at,
        title=f"{comparison.candidate} replacing {comparison.baseline}, seed {comparison.seed}, {comparison.profile}",
        decision=Mark(comparison.decision.value, _TONES[comparison.decision]),
        speeds="; ".join(f"{s.scenario} {s.ratio:.2f} × ({s.low:.2f} to {s.high:.2f})" for s in comparison.speeds)
        or "–",
        passed=f"{passed} of {len(ran)}",
        why=comparison.reasons[0] if comparison.reasons else "",
    )


def _trends(runs: Sequence[Stored]) -> Section | None:
    rows = [
        (
            number,
            one.comparison.created_at,
            f"{speed.scenario}: {one.comparison.candidate} replacing {one.comparison.baseline}",
            speed.ratio,
            speed.low,
            speed.high,
            one.comparison.decision.value,
        )
        for number, one in enumerate(runs, 1)
        for speed in one.comparison.speeds
    ]
    fields = ("run", "when", "what", "ratio", "low", "high", "decision")
    drawings = tuple(
        Drawing(
            kind="trend",
            tables={"trend": Table(fields, tuple(row for row in rows if row[2] == what))},
            caption=f"{what}: the throughput ratio of every run, with its 95 % interval.",
            words=f"{what}: " + ", ".join(f"run {row[0]} {row[3]:.2f}" for row in rows if row[2] == what),
        )
        for what in dict.fromkeys(row[2] for row in rows)
    )
    return Section(key="trends", title="Trends", drawings=drawings) if drawings else None


def _histories(runs: Sequence[Stored]) -> list[Section]:
    shown = runs[-MOST_COLUMNS:]
    first = len(runs) - len(shown) + 1
    pairs = dict.fromkeys((one.comparison.baseline, one.comparison.candidate) for one in shown)
    grids = []
    for baseline, candidate in pairs:
        mine = [
            (first + place, {row.name: row.candidate.tone for row in build_view(one.comparison).rows})
            for place, one in enumerate(shown)
            if (one.comparison.baseline, one.comparison.candidate) == (baseline, candidate)
        ]
        names = sorted({name for _, tones in mine for name in tones})
        rows = [
            (name, *(Mark(_SIGNS[tones[name]], tones[name]) if name in tones else "" for _, tones in mine))
            for name in names
        ]
        left = f"the {len(runs) - len(shown)} earlier comparisons are in the table above only" if first > 1 else ""
        grids.append(
            Grid(
                caption=f"The verdict on {candidate} in each scenario, one column for each comparison "
                f"({candidate} replacing {baseline})",
                columns=("scenario", *(str(number) for number, _ in mine)),
                rows=tuple(rows),
                more=left,
            )
        )
    return [Section(key="histories", title="Scenarios over time", grids=tuple(grids))] if grids else []

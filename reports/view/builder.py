"""Builds the view of a comparison.

Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from poolproof.harness.compare.comparison import Comparison
from poolproof.harness.model.verdict import Decision
from poolproof.reports.charts import overview
from poolproof.reports.charts.drawing import present, side_names
from poolproof.reports.evidence.call import CallView
from poolproof.reports.sections.section import Grid, Mark, Section, Tone
from poolproof.reports.view.glossary import build_glossary
from poolproof.reports.view.model import View
from poolproof.reports.view.scenarios import ORDER, build_row
from poolproof.reports.view.summary import headline, hero, lead, tiles, what_settles

_TONES = {Decision.SAFE: Tone.GOOD, Decision.INCONCLUSIVE: Tone.DOUBT, Decision.UNSAFE: Tone.BAD}


def build_view(
    comparison: Comparison, sections: Sequence[Section] = (), calls: Mapping[str, tuple[CallView, ...]] | None = None
) -> View:
    """The whole report, in the order in which it is shown.

    `sections` are the optional ones; `calls` are the calls that show the failures, by scenario.
    """
    rows = [build_row(row, comparison, (calls or {}).get(row.name, ())) for row in comparison.scenarios]
    sides = side_names(comparison.baseline, comparison.candidate)
    case = tuple(
        dict.fromkeys(
            f"{row.name}: {difference.reason}"
            for row in comparison.scenarios
            for difference in row.differences
            if difference.reason and difference.pool == comparison.baseline
        )
    )
    told = {
        f"{d.pool} fails {row.name}, as declared beforehand: {d.reason}"
        for row in comparison.scenarios
        for d in row.differences
    }
    return View(
        title=f"{comparison.candidate} replacing {comparison.baseline}",
        decision=comparison.decision.value,
        tone=_TONES[comparison.decision],
        headline=headline(comparison),
        lead=lead(comparison),
        hero=hero(comparison, sides),
        tiles=tiles(comparison),
        reasons=tuple(reason for reason in comparison.reasons if reason not in told),
        case=case,
        warnings=comparison.warnings,
        not_asked=comparison.not_asked,
        settles=what_settles(comparison),
        rows=tuple(sorted(rows, key=lambda row: ORDER.index(row.state))),
        speeds=comparison.speeds,
        overview=present(
            overview.forest(comparison.speeds),
            overview.overlap(comparison, sides),
            overview.response(comparison, sides),
            overview.throughput(comparison, sides),
        ),
        ledger=_ledger(comparison),
        sections=tuple(sections),
        glossary=build_glossary(comparison),
        facts=_facts(comparison),
        source=comparison,
    )


def _ledger(comparison: Comparison) -> Grid | None:
    rows: list[tuple[str | Mark, ...]] = []
    for row in comparison.scenarios:
        for found in row.differences:
            status = Mark("declared", Tone.DECLARED) if found.reason else Mark("undeclared", Tone.BAD)
            if found.ran_out:
                status = Mark("declaration has run out", Tone.BAD)
            what = "answers" if found.kind == "answers" else found.checker
            rows.append(
                (row.name, found.made_in or found.pool, what, found.text, status, found.reason or found.ran_out or "–")
            )
        rows += [(row.name, "–", "–", told, Mark("declared, not seen", Tone.DOUBT), "–") for told in row.not_seen]
    if not rows:
        return None
    return Grid(
        caption="All differences between the pools, declared or not, and declared differences that did not occur.",
        columns=("scenario", "pool", "in", "difference", "status", "reason"),
        rows=tuple(rows),
    )


def _facts(comparison: Comparison) -> tuple[tuple[str, str], ...]:
    machine = comparison.machine
    return (
        ("decision", f"{comparison.decision.value}: {comparison.candidate} replacing {comparison.baseline}"),
        ("made", comparison.created_at),
        ("command", comparison.command or "–"),
        ("seed", str(comparison.seed)),
        ("workers, clients", f"{comparison.workers}, {comparison.clients}"),
        ("profile", comparison.profile),
        ("worker", comparison.worker_command or "the shipped worker"),
        ("took", f"{comparison.duration_s:.1f} s"),
        ("machine", f"{machine.system}, {machine.cpus} processors"),
        ("load before, after", f"{machine.load_before:.2f}, {machine.load_after:.2f}"),
        ("Python", machine.python),
        ("poolproof", f"{comparison.tool_version}, schema {comparison.schema_version}"),
    )

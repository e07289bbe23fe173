"""The section "Since the last run": new and fixed findings, and timings that changed, from the file since.json.

Pure: JSON text in, a section out.
"""

from __future__ import annotations

import msgspec

from poolproof.harness.bench.statistics.claims import Claim
from poolproof.harness.compare.stored.diff import Diff, FindingChange, Standing
from poolproof.reports.sections.section import Grid, Mark, Section, Tone

MOST_ROWS = 100
MOST_RUNS_NAMED = 2
TONES = {
    Standing.NEW: Tone.BAD,
    Standing.UNDECIDED: Tone.DOUBT,
    Standing.FIXED: Tone.GOOD,
    Standing.STILL: Tone.MUTED,
}
TIMING_TONES = {
    Claim.WORSE: Tone.BAD,
    Claim.BETTER: Tone.GOOD,
    Claim.NO_WORSE: Tone.GOOD,
    Claim.INCONCLUSIVE: Tone.DOUBT,
}


def since_section(data: bytes) -> Section:
    """Build the section. Raises msgspec.DecodeError if the data are not a Diff."""
    found = msgspec.json.decode(data, type=Diff)
    return Section(
        key="since-the-last-run",
        title="Since the last run",
        sentences=tuple(_sentences(found)),
        grids=tuple(grid for grid in (_findings(found), _timings(found)) if grid is not None),
    )


def _sentences(found: Diff) -> list[str]:
    told = [
        f"The last comparison of {found.candidate} with {found.baseline}, of {found.before_at}, ended with "
        f"{found.before.value}; this one ends with {found.now.value}.",
        f"Failures of the candidate that are not declared: {found.counted}.",
    ]
    for title, names in (("Only the last comparison had", found.only_before), ("New in this one", found.only_now)):
        if names:
            told.append(f"{title}: the scenarios {', '.join(names)}.")
    told += [f"Not compared: {sentence}." for sentence in found.not_compared]
    told += [f"Conditions differ: {sentence}." for sentence in found.conditions]
    return told


def _findings(found: Diff) -> Grid | None:
    rows = [_finding(change) for change in found.findings]
    if not rows:
        return None
    left = len(rows) - MOST_ROWS
    return Grid(
        caption="What became of each failure, those of the candidate that are not declared first",
        columns=("since", "scenario", "pool", "checker", "finding", "declared", "runs"),
        rows=tuple(rows[:MOST_ROWS]),
        more=f"{left} more are in since.json" if left > 0 else "",
    )


def _finding(change: FindingChange) -> tuple[str | Mark, ...]:
    tone = TONES[change.standing] if change.counts else Tone.MUTED
    more = len(change.made_in) - MOST_RUNS_NAMED
    runs = "; ".join(change.made_in[:MOST_RUNS_NAMED]) + (f" and {more} more" if more > 0 else "")
    return (
        Mark(change.standing.words, tone),
        change.scenario,
        change.pool,
        change.checker,
        change.text,
        change.reason or "–",
        runs,
    )


def _timings(found: Diff) -> Grid | None:
    if not found.timings:
        return None
    return Grid(
        caption="Candidate divided by baseline: in the last comparison, now, and the factor between both",
        columns=("timing", "last", "now", "factor", "95 % interval", "allowed", "result"),
        rows=tuple(
            (
                f"{timing.work}, {timing.metric}",
                f"{timing.saved.value:.3f}",
                f"{timing.now.value:.3f}",
                f"{1 / timing.change.value:.3f}",
                f"{1 / timing.change.high:.3f} to {1 / timing.change.low:.3f}",
                f"{1 / (1 + timing.margin):.3f} or more",
                Mark(timing.claim.pace, TIMING_TONES[timing.claim]),
            )
            for timing in found.timings
        ),
    )

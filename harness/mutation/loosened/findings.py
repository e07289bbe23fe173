"""The record of the check of the checkers: what notices each loosening, and each checker that a scenario leaves out.

Pure. A loosening is noticed if a test of the checkers fails with it, or if a planted bug is no longer accused in its
recorded run. A checker that a scenario leaves out is noticed if a rule of `pairs.py` is broken, or if no other
checker accuses a planted bug.
"""

from __future__ import annotations

import msgspec

from poolproof.bridge.safe_text import escape_markdown

SCHEMA_VERSION = "1.0"


class Loosening(msgspec.Struct, frozen=True, kw_only=True):
    """One loosening. `failed` is the first test that failed with it, and `lost` are mutants that no checker accuses.

    `reason` says why a loosening changes no verdict; empty if reasons.py has no entry for it.
    """

    operator: str
    file: str
    line: int
    statement: str
    change: str
    failed: str = ""
    lost: tuple[str, ...] = ()
    reason: str = ""

    @property
    def name(self) -> str:
        """The place of the loosening and its operator, as one text."""
        return f"{self.file}:{self.line} {self.operator}"

    @property
    def noticed(self) -> bool:
        """Whether anything notices it."""
        return bool(self.failed or self.lost)


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """A scenario without one of its checkers: the broken rules, and the mutants that no other checker accuses."""

    scenario: str
    checker: str
    rules: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()

    @property
    def noticed(self) -> bool:
        """Whether anything notices it."""
        return bool(self.rules or self.lost)


class CheckerFindings(msgspec.Struct, frozen=True, kw_only=True):
    """The whole result. `mutants` counts those that a recorded run kills, `tested` says whether tests were run."""

    loosenings: tuple[Loosening, ...]
    pairs: tuple[Pair, ...]
    mutants: int
    asked_again: int
    tested: bool
    stale: tuple[str, ...] = ()
    duration_s: float = 0.0
    schema_version: str = SCHEMA_VERSION

    @property
    def unnoticed(self) -> tuple[Loosening, ...]:
        """The loosenings that no test and no planted bug notices, and that have no reason in reasons.py."""
        return tuple(one for one in self.loosenings if not one.noticed and not one.reason)

    @property
    def unneeded(self) -> tuple[Pair, ...]:
        """The pairs of a scenario and a checker whose removal nothing notices."""
        return tuple(pair for pair in self.pairs if not pair.noticed)


def sentences(found: CheckerFindings) -> list[str]:
    """The summary, most important first."""
    tested = sum(bool(one.failed) for one in found.loosenings)
    lost = sum(bool(one.lost) for one in found.loosenings)
    noticed = sum(one.noticed for one in found.loosenings)
    by_rule, by_mutant = sum(bool(pair.rules) for pair in found.pairs), sum(bool(pair.lost) for pair in found.pairs)
    said = [
        f"loosened checkers: {noticed} of {len(found.loosenings)} are noticed; a test fails with {tested}, and "
        f"{lost} lose one of {found.mutants} planted bugs in its recorded run",
        f"checkers left out of a scenario: {len(found.pairs) - len(found.unneeded)} of {len(found.pairs)} are noticed; "
        f"{by_rule} by a rule, {by_mutant} by a planted bug that nobody else accuses in a recorded run",
        f"{found.asked_again} accusations were asked again; {found.duration_s:.0f} s",
    ]
    if not found.tested:
        said.append("no test was run: there is no folder of tests (--tests)")
    return said + [f"stale reason: {entry}" for entry in found.stale]


def as_markdown(found: CheckerFindings) -> str:
    """The summary, all that remained unnoticed, and the planted bugs that each loosening hides."""
    lines = ["# Loosened checkers", "", *(f"- {sentence}" for sentence in sentences(found)), ""]
    if found.unnoticed:
        lines += ["## Loosenings that nothing notices", "", "| place | statement | change |", "|---|---|---|"]
        lines += [
            f"| {one.name} | {escape_markdown(one.statement)} | {escape_markdown(one.change)} |"
            for one in found.unnoticed
        ]
        lines.append("")
    argued = [one for one in found.loosenings if one.reason]
    if argued:
        lines += ["## Loosenings that change nothing", "", "| place | change | why |", "|---|---|---|"]
        lines += [f"| {one.name} | {escape_markdown(one.change)} | {escape_markdown(one.reason)} |" for one in argued]
        lines.append("")
    losing = [one for one in found.loosenings if one.lost]
    if losing:
        lines += ["## Loosenings that lose planted bugs", "", "| place | change | lost |", "|---|---|---|"]
        lines += [f"| {one.name} | {escape_markdown(one.change)} | {', '.join(one.lost)} |" for one in losing]
        lines.append("")
    lines += ["## Checkers of scenarios", "", "| scenario | checker | noticed by |", "|---|---|---|"]
    lines += [f"| {pair.scenario} | {pair.checker} | {_noticed(pair)} |" for pair in found.pairs]
    return "\n".join(lines) + "\n"


def _noticed(pair: Pair) -> str:
    return escape_markdown("; ".join((*pair.rules, *pair.lost))) or "**nothing**"

"""Reads a ledger of declared weaknesses for one comparison: `poolproof compare --declare ledger.toml`.

    [[declare]]
    scenario = "calls_slow"
    pool = "baseline"            # or the baseline's own name; may be left out
    checker = "parallel:slow"    # or "answers", with a label or a kind
    reason = "the legacy pool serves one call after the other"
    until = "2027-06-30"         # may be left out

A declared weakness never excuses the candidate: an entry that names it is refused.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from poolproof.harness.model.errors import UsageError
from poolproof.harness.model.intended import BASELINE, DifferenceKind, IntendedDifference, KnownFailure
from poolproof.harness.model.scenario import Scenario


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry of the file; see IntendedDifference."""

    scenario: str
    checker: str
    reason: str
    pool: str = BASELINE
    label: str = ""
    kind: DifferenceKind | None = None
    until: str = ""


class Ledger(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    declare: tuple[Entry, ...] = ()


def read_ledger(path: Path) -> tuple[Entry, ...]:
    """Read the entries of a TOML file. Raises UsageError that names what is wrong."""
    try:
        found = msgspec.convert(tomllib.loads(path.read_text()), type=Ledger)
    except OSError as error:
        raise UsageError(f"--declare {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise UsageError(f"--declare {path}: {error}") from error
    if not found.declare:
        raise UsageError(f"--declare {path} declares nothing; each entry is a table [[declare]]")
    return found.declare


def entries_of(known: Iterable[KnownFailure]) -> tuple[Entry, ...]:
    """Return known failures as entries for the baseline."""
    return tuple(Entry(scenario=one.scenario, checker=one.checker, reason=one.reason, until=one.until) for one in known)


def declare(scenarios: Sequence[Scenario], entries: Iterable[Entry], baseline: str, candidate: str) -> list[Scenario]:
    """Return the scenarios with these entries added.

    Raises UsageError for an entry of another pool than the baseline, or of a scenario or checker that is not compared.
    """
    added: dict[str, list[IntendedDifference]] = {scenario.name: [] for scenario in scenarios}
    checkers = {scenario.name: {checker.name for checker in scenario.checkers} for scenario in scenarios}
    for entry in entries:
        what = f"the declared weakness in {entry.scenario}, {entry.checker}"
        if entry.pool not in (BASELINE, baseline):
            why = "a declared weakness never excuses the candidate" if entry.pool == candidate else "it is not compared"
            raise UsageError(f"{what} names the pool {entry.pool!r}: {why}; use {BASELINE!r} or {baseline!r}")
        if entry.scenario not in added:
            raise UsageError(f"{what}: that scenario is not among those to run")
        if entry.checker not in checkers[entry.scenario] | {"answers"}:
            raise UsageError(f"{what}: the scenario has the checkers {', '.join(sorted(checkers[entry.scenario]))}")
        added[entry.scenario].append(
            IntendedDifference(
                pool=baseline,
                checker=entry.checker,
                reason=entry.reason,
                label=entry.label,
                kind=entry.kind,
                until=entry.until,
            )
        )
    return [
        msgspec.structs.replace(scenario, intended_differences=(*added[scenario.name], *scenario.intended_differences))
        for scenario in scenarios
    ]

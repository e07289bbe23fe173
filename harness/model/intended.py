"""The ledger of intended differences: in what one pool may fail or answer differently, why, and until which day.

Pure: today's date is an argument. An expired entry excuses nothing, and the difference that it covered says so. An
entry whose difference did not occur is reported, so that the ledger holds no outdated entries.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from enum import StrEnum

import msgspec

from poolproof.harness.model.comparing.comparers import Comparer
from poolproof.harness.model.errors import UsageError
from poolproof.harness.model.op import Op

ANSWERS = "answers"
BASELINE = "baseline"
"""This word in place of a pool's name stands for the pool that is to be replaced; outside of a comparison, for v1."""
DEFAULT_BASELINE = "v1"
DATE_PATTERN = re.compile(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])")


class DifferenceKind(StrEnum):
    """The way in which an operation differs between two pools."""

    VALUE = "value"
    ERROR_CLASS = "error_class"
    ERROR_TEXT = "error_text"
    INDETERMINATE = "indeterminate"
    MISSING = "missing"


class IntendedDifference(msgspec.Struct, frozen=True, kw_only=True):
    """A known weakness of one pool: its finding by `checker` may fail, for this reason, until the day `until`.

    "baseline" in place of a pool's name stands for the pool that is to be replaced; see `resolved`.
    "answers" in place of a checker's name stands for operations that this pool answers differently from the other pool.
    Such an entry must select the operations: by a step's `label`, by the `kind` of the difference, or by both.
    `until` is the last day on which the entry counts, as 2026-12-31; empty for a weakness of the pool's design.
    """

    pool: str
    checker: str
    reason: str
    label: str = ""
    kind: DifferenceKind | None = None
    until: str = ""

    def __post_init__(self) -> None:
        what = f"the intended difference of {self.pool} in {self.checker}"
        if not self.reason.strip():
            raise UsageError(f"{what} gives no reason")
        if self.until and not DATE_PATTERN.fullmatch(self.until):
            raise UsageError(f"{what}: until {self.until!r} is not a date such as 2026-12-31")
        if self.checker == ANSWERS and not (self.label or self.kind):
            raise UsageError(f"{what} would excuse every answer; give it a label or a kind")
        if self.checker != ANSWERS and (self.label or self.kind):
            raise UsageError(f"{what}: only an entry for {ANSWERS!r} may have a label or a kind")

    def ran_out(self, today: str) -> bool:
        """Return whether the entry's last day is before `today`, as 2026-12-31."""
        return bool(self.until) and self.until < today

    def covers(self, label: str, kind: DifferenceKind) -> bool:
        """Return whether the entry covers an operation with this label that differs in this way."""
        return self.label in ("", label) and self.kind in (None, kind)


def resolved(entries: Iterable[IntendedDifference], baseline: str = DEFAULT_BASELINE) -> tuple[IntendedDifference, ...]:
    """Return the entries with the name of the `baseline` in place of "baseline"."""
    return tuple(
        msgspec.structs.replace(entry, pool=baseline) if entry.pool == BASELINE else entry for entry in entries
    )


class KnownFailure(msgspec.Struct, frozen=True, kw_only=True):
    """A known failure of a pool: the checker, the reason, and the last day (such as 2026-12-31; empty: no end).

    In the conformance kit it is a failure of the pool that is tested, and the test is then an expected failure (xfail).
    In a comparison it is a failure of the baseline. A known failure that does not occur is reported.
    """

    scenario: str
    checker: str
    reason: str
    until: str = ""


class Comparing(msgspec.Struct, frozen=True, kw_only=True):
    """How a scenario compares answers. Each hook gets whole operations, so it sees errors too.

    `ignore` returns whether to skip a pair. `compare` returns whether the two operations count as equal. `clean`
    returns the part of one operation to compare, in place of its result or its command error. `comparers` compare parts
    of that by their JSON paths (see poolproof.harness.model.comparing.comparers); `compare` overrides them. A hook that
    raises leaves its pair undecided.
    """

    compare: Callable[[Op, Op], bool] | None = None
    ignore: Callable[[Op, Op], bool] | None = None
    clean: Callable[[Op], object] | None = None
    comparers: tuple[Comparer, ...] = ()


class Excuse(msgspec.Struct, frozen=True, kw_only=True):
    """The declaration of a difference. If it has expired, `ran_out` says since when, and what its reason was."""

    entry: IntendedDifference | None = None
    ran_out: str = ""

    @property
    def reason(self) -> str:
        """The declared reason; empty if the difference is not declared."""
        return "" if self.entry is None else self.entry.reason


def find_excuse(entries: Iterable[IntendedDifference], pools: Collection[str], checker: str, *, today: str) -> Excuse:
    """Find the first entry for one of `pools` and this checker that has not expired."""
    return _first((e for e in resolved(entries) if e.pool in pools and e.checker == checker), today)


def excuse_answer(
    entries: Iterable[IntendedDifference], pools: Collection[str], label: str, kind: DifferenceKind, *, today: str
) -> Excuse:
    """Find the first entry for answers of one of `pools` that covers an operation and has not expired."""
    fit = (e for e in resolved(entries) if e.pool in pools and e.checker == ANSWERS and e.covers(label, kind))
    return _first(fit, today)


def not_seen(
    entries: Iterable[IntendedDifference], pool: str, failed: Collection[str], *, scenario: str, today: str
) -> list[str]:
    """Return a sentence for each entry for this pool's findings whose checker is not among `failed`."""
    return [
        f"{scenario}: {pool} was declared to fail {entry.checker}, but did not fail it{told_end(entry, today)}"
        for entry in resolved(entries)
        if entry.pool == pool and entry.checker != ANSWERS and entry.checker not in failed
    ]


def told_end(entry: IntendedDifference, today: str) -> str:
    """Return "; the declaration ran out on …" if the entry has expired; else an empty string."""
    return f"; the declaration ran out on {entry.until}" if entry.ran_out(today) else ""


def _first(entries: Iterable[IntendedDifference], today: str) -> Excuse:
    old = ""
    for entry in entries:
        if not entry.ran_out(today):
            return Excuse(entry=entry)
        old = old or f"the declaration of this failure ran out on {entry.until}: {entry.reason}"
    return Excuse(ran_out=old)

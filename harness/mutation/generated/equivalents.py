"""Generated mutants that are argued to be as good as the shipped pools, one by one, each with its reason.

Pure data. An entry names the operator, the file, the text of the statement and the change, so it holds when lines move;
an entry that fits no place any more is reported as stale.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from poolproof.harness.mutation.operators.places import Place


class Equivalent(msgspec.Struct, frozen=True, kw_only=True):
    """One mutation that breaks no promise of the pools, and the reason."""

    operator: str
    file: str
    statement: str
    change: str
    reason: str

    @property
    def key(self) -> tuple[str, str, str, str]:
        """The key that identifies the mutation; equal to Place.key."""
        return self.operator, self.file, self.statement, self.change


EQUIVALENTS: tuple[Equivalent, ...] = (
    Equivalent(
        operator="change_by_one",
        file="pool_v2/calls/streaming.py",
        statement="self._deadline_ns = 0",
        change="0 -> (-1)",
        reason="nothing reads the deadline of a stream before `begin`, which sets it",
    ),
    Equivalent(
        operator="shift_boundary",
        file="pool_v2/running/lifetime.py",
        statement="while IN_FLIGHT in self.accounts.calls.copy().values() and self.now_ns() < deadline:",
        change="< -> <=",
        reason="the close waits one nanosecond longer for outcomes that nobody reports",
    ),
)


def reason_of(place: Place, entries: Iterable[Equivalent] = EQUIVALENTS) -> str:
    """The reason why this mutation is equivalent; empty if there is no entry for it."""
    return next((entry.reason for entry in entries if entry.key == place.key), "")


def find_stale(places: Iterable[Place], entries: Iterable[Equivalent] = EQUIVALENTS) -> tuple[str, ...]:
    """Name the entries that fit none of the places."""
    known = {place.key for place in places}
    return tuple(
        f"{entry.file} {entry.operator}: {entry.statement!r} ({entry.change})"
        for entry in entries
        if entry.key not in known
    )

"""Bugs in what V2's options promise. Entry point."""

from __future__ import annotations

from typing import Any

from poolproof.harness.mutation.mutant import V2, Registry
from poolproof.harness.mutation.planting import mark_entered, replace
from poolproof.pool_v2.core.circuit import Circuit
from poolproof.pool_v2.core.grants import Grants
from poolproof.pool_v2.core.replacement import Replacement
from poolproof.pool_v2.core.sessions import Session, SessionTable, StateChange

REGISTRY = Registry()
KEPT = 30


@REGISTRY.bug(V2, breaks=("G15",), scenarios=("lazy_alone",))
def lazy_starts_one_more() -> None:
    """A lazy pool starts one worker more than the waiting calls need."""

    def eager(wanted_starts: Any) -> Any:
        def one_more(self: Replacement, now_ns: int) -> int:
            wanted: int = wanted_starts(self, now_ns)
            return wanted + (0 < wanted < self.limits.most - len(self.workers))

        return one_more

    replace(Replacement, "wanted_starts", eager)


@REGISTRY.bug(V2, breaks=("G15",), scenarios=("smallest_size",))
def shrinks_by_one_more() -> None:
    """An idle pool shrinks to one worker less than `min_workers`."""

    def shrunk(recycle: Any) -> Any:
        def below(self: Replacement, now_ns: int, times: list[int]) -> Any:
            floor = self.floor
            self.floor -= floor == self.limits.floor  # not while the pool is warmed up
            try:
                return recycle(self, now_ns, times)
            finally:
                self.floor = floor

        return below

    replace(Replacement, "_recycle", shrunk)


@REGISTRY.bug(V2, breaks=("G27",), scenarios=("crowd",))
def sessions_wait_uncounted() -> None:
    """The pool's status does not count the waiting calls of sessions."""

    def without_sessions(self: Grants) -> int:
        mark_entered()
        return sum(ticket.session is None for ticket in self.waiting_calls())

    replace(Grants, "waiting", lambda _: property(without_sessions), counted=False)


@REGISTRY.bug(V2, breaks=("G17",), scenarios=("lasting_session",))
def session_expires_in_use() -> None:
    """`session_ttl_s` counts from a session's first call, not from its last one."""

    def release(original: Any) -> Any:
        def as_first(self: SessionTable, session: Session, number: int, now_ns: int) -> None:
            original(self, session, number, session.used_ns or now_ns)

        return as_first

    replace(SessionTable, "release", release)


@REGISTRY.bug(V2, breaks=("G18",), scenarios=("short_log",))
def snapshot_alone() -> None:
    """A handover restores the snapshot of a session, and leaves out the changes made after that snapshot."""

    def lacks(original: Any) -> Any:
        def base_only(self: Session, worker_id: int) -> tuple[StateChange, ...]:
            changes: tuple[StateChange, ...] = original(self, worker_id)
            if self.base is None or self.base not in changes:
                return changes
            return changes[: changes.index(self.base) + 1]

        return base_only

    replace(Session, "lacks", lacks)


@REGISTRY.bug(V2, breaks=("G18",), scenarios=("long_log",))
def log_of_thirty() -> None:
    """A session's log keeps the last 30 changes only."""

    def changed(original: Any) -> Any:
        def shortened(self: Session, *args: Any, **limits: Any) -> bool:
            full: bool = original(self, *args, **limits)
            if self.log is not None and len(self.log) > KEPT:
                del self.log[0]
                self.base_version += 1
            return full

        return shortened

    replace(Session, "changed", changed)


@REGISTRY.bug(V2, breaks=("G13",), scenarios=("good_starts_between",))
def circuit_forgets_one_failure() -> None:
    """A successful start cancels one earlier failure, not all, so the circuit opens with too few failures in a row."""

    def answered(original: Any) -> Any:
        def one_less(self: Circuit) -> None:
            failures = self.failures
            original(self)
            if not self.failures:
                self.failures = max(failures - 1, 0)

        return one_less

    replace(Circuit, "answered", answered)

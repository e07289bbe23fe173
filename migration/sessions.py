"""The sessions of a migration: the pool of each session, and the log to rebuild it on the other pool.

Pure. Only one call at a time, the holder of the record's turn, uses a record. The log keeps *acknowledged* commands:
the successful commands that change state, in order, as they were sent.

Rules
1. A session is handed over only if its log is complete. The log is incomplete if it outgrew its limit, if the session
   existed before the migration, or if a command that changes state got no response and may have been executed.
2. A session that cannot be handed over is lost until it is ended. Every later call raises an error with the reason; a
   session never silently starts empty.
3. `traces` are the pools that had the session once and may still have parts of it. Such a pool must forget the session
   before it gets it again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from poolproof.bridge import CommandError, InvalidRequest, PoolError, Sent, SessionLost, SessionStatus
from poolproof.migration.plan import Plan, Position, Side
from poolproof.migration.router import Act, Home, Route, route_session

CLEAN_UP = "cleanup_session"
"""The worker's command that forgets a session."""

MOST_FAILURES = 3
"""The number of failed handovers, for possibly temporary reasons, after which a session is lost."""


class Change(msgspec.Struct, frozen=True, gc=False):
    """One acknowledged command; `args` are its arguments as JSON."""

    command: str
    args: bytes


class Record:
    """One session. A call holds `turn` (a lock of the caller's choice) while it uses the record."""

    __slots__ = (
        "doubt",
        "epoch",
        "failures",
        "home",
        "log",
        "log_bytes",
        "lost",
        "operations",
        "session_id",
        "side",
        "traces",
        "turn",
        "version",
    )

    def __init__(self, session_id: str, turn: Any) -> None:  # noqa: ANN401 - a lock
        self.session_id = session_id
        self.turn = turn
        self.traces: set[Side] = set()
        self.reset()

    def reset(self) -> None:
        """Forget everything except the traces: the session is new."""
        self.home = Home.NEW
        self.side = Side.V1
        self.epoch = 0
        self.log: list[Change] = []
        self.log_bytes = 0
        self.doubt = ""
        self.lost = ""
        self.operations = 0
        self.version = 0
        self.failures = 0

    def settled(self, side: Side, epoch: int) -> None:
        """Mark the session as settled: in step `epoch` (above 0), its calls go to `side` without preparation."""
        self.side, self.epoch = side, epoch

    def acknowledged(self, command: str, args: bytes, *, limit_bytes: int) -> None:
        """Record that a command that changes state succeeded."""
        self.version += 1
        self.log_bytes += len(command) + len(args)
        if self.log_bytes > limit_bytes:
            self.doubt = self.doubt or f"the session's log outgrew {limit_bytes} bytes"
        if self.doubt:
            self.log.clear()  # an incomplete log is useless
        else:
            self.log.append(Change(command, args))

    def unanswered(self, command: str, error: str) -> None:
        """Record that a command that changes state got no response and may have been executed."""
        self.doubt = self.doubt or f"{command!r} ended in {error}, and may have changed the session's state"
        self.log.clear()

    def began(self, side: Side) -> None:
        """Record that the session's calls go to `side` from now on."""
        self.home = Home(side)
        self.traces.add(side)

    def moved(self, side: Side) -> None:
        """Record that the session was completely rebuilt on `side`."""
        self.began(side)
        self.failures = 0

    def lose(self, why: str) -> None:
        """Mark the session's state as lost, with the reason."""
        self.lost = why
        self.log.clear()

    def handover_failed(self, why: str) -> None:
        """Record a handover that failed for a possibly temporary reason. The session is lost after MOST_FAILURES."""
        self.failures += 1
        if self.failures >= MOST_FAILURES:
            self.lose(f"the handover of the session failed {self.failures} times; the last error: {why}")

    def detach(self, side: Side) -> None:
        """Record that the pool `side` is gone, with the session state that it had."""
        self.traces.discard(side)
        if self.home.value == side.value:
            self.home = Home.LOG
            self.epoch = 0

    @property
    def blank(self) -> bool:
        """Whether no call of the session was ever answered and nothing may have changed it."""
        return not (self.operations or self.version or self.doubt or self.lost or self.log)

    @property
    def known(self) -> bool:
        """Whether the session exists, for listings."""
        return self.home is not Home.NEW


class Ledger:
    """All sessions of a migrating pool, by id. Each method changes `table` in one atomic step."""

    def __init__(self, make_turn: Callable[[], Any]) -> None:
        self._make_turn = make_turn
        self.table: dict[str, Record] = {}

    def get(self, session_id: str) -> Record | None:
        """Return the record, or None if there is none."""
        return self.table.get(session_id)

    def begin(self, session_id: str) -> Record:
        """Return the record; create it if there is none."""
        record = self.table.get(session_id)
        return record or self.table.setdefault(session_id, Record(session_id, self._make_turn()))

    def end(self, record: Record, cleaned: set[Side]) -> None:
        """Forget the session, after the pools in `cleaned` have forgotten it. The caller must hold the turn."""
        record.traces -= cleaned
        record.reset()
        if not record.traces and self.table.get(record.session_id) is record:
            del self.table[record.session_id]

    def records(self) -> list[Record]:
        """Return all records."""
        return list(self.table.values())

    def statuses(self) -> tuple[SessionStatus, ...]:
        """Return the status of every existing session."""
        return tuple(
            SessionStatus(session_id=r.session_id, operations=r.operations, version=r.version, worker_id=None)
            for r in self.records()
            if r.known
        )


def require_kept(record: Record) -> None:
    """Raise SessionLost, with the reason, if the session's state is lost."""
    if record.lost:
        raise SessionLost(f"session {record.session_id!r}: {record.lost}")


def route_of(record: Record, position: Position, plan: Plan) -> Route:
    """Return the route of the session's next call. A session that cannot take it is marked as lost."""
    route = route_session(position, plan, record.session_id, record.home)
    if route.act is Act.LOSE:
        record.lose(
            f"its state is on {record.home}, which no longer serves calls, and the migration plan moves no sessions"
        )
    elif needs_building(record, route) and record.doubt:
        record.lose(f"the session cannot be handed over from {record.home} to {route.side}: {record.doubt}")
    return route


def needs_building(record: Record, route: Route) -> bool:
    """Whether the session must be built up on the route's pool before its call."""
    return record.home is Home.NEW or route.act is not Act.GO


def building_failed(record: Record, side: Side, error: PoolError) -> None:
    """Record that the session could not be built up on `side`; only the log was sent then, not the call itself."""
    if isinstance(error, CommandError | InvalidRequest | SessionLost):
        record.lose(f"the handover of the session to {side} failed: {error.message}")
    elif record.log:  # a session without state has nothing to lose
        record.handover_failed(f"{type(error).__name__}: {error.message}")
    error.sent = Sent.NO


def call_failed(ledger: Ledger, record: Record, plan: Plan, command: str, error: BaseException) -> None:
    """Record that a call of the session failed."""
    if isinstance(error, CommandError):
        record.operations += 1
        return
    changes = command in plan.state_commands
    unsent = isinstance(error, PoolError) and error.sent is Sent.NO
    if changes and not unsent and record.side not in plan.undoes_unanswered:
        record.unanswered(command, type(error).__name__)
    elif record.blank:  # the session never started; its next call begins it on the pool of that time
        ledger.end(record, {record.side} if unsent else set())


def call_succeeded(ledger: Ledger, record: Record, plan: Plan, command: str, sent: bytes | None) -> None:
    """Record that a call of the session succeeded; `sent` are the arguments of a command that changes state."""
    record.operations += 1
    if sent is not None:
        record.acknowledged(command, sent, limit_bytes=plan.session_log_bytes)
    elif command == CLEAN_UP:
        ledger.end(record, {record.side})

"""The sessions of a migration: which pool has each, and what is needed to build it up on the other.

Pure; each record is used by one call at a time, which has its turn. It keeps what was *acknowledged*: the successful
commands that change state, in their order, as they were sent.

Rules
1. A session is handed over only if its log is all there is. It is not if the log outgrew its limit, if the session was
   there before the migration, or if a call that changes state had no answer and its pool may have carried it out.
2. What cannot be handed over is lost, says why to every later call, and is lost until it is ended. Nothing is empty in
   silence.
3. A pool that had the session once may have something of it still: `traces`. It cleans up before it has it again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from poolproof.bridge import SessionStatus
from poolproof.migration.plan import Side
from poolproof.migration.router import Home

MOST_FAILURES = 3
"""So many handovers of one session may fail for a reason that may pass."""


class Change(msgspec.Struct, frozen=True, gc=False):
    """One acknowledged command; `args` are its arguments as JSON."""

    command: str
    args: bytes


class Record:
    """One session. `turn` is what a call holds while it uses the record; this file knows nothing of locks."""

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
        """Forget all but the traces: the session is new."""
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
        """In this step (of a number above 0) its calls go there, and nothing is to be done before."""
        self.side, self.epoch = side, epoch

    def acknowledged(self, command: str, args: bytes, *, limit_bytes: int) -> None:
        """A command that changes state was answered with success."""
        self.version += 1
        self.log_bytes += len(command) + len(args)
        if self.log_bytes > limit_bytes:
            self.doubt = self.doubt or f"its log outgrew {limit_bytes} bytes"
        if self.doubt:
            self.log.clear()  # of no use any more
        else:
            self.log.append(Change(command, args))

    def unanswered(self, command: str, error: str) -> None:
        """A command that changes state may have been carried out, and nobody knows."""
        self.doubt = self.doubt or f"{command!r} ended in {error}, and may have changed it"
        self.log.clear()

    def began(self, side: Side) -> None:
        """Its calls go there from now on."""
        self.home = Home(side)
        self.traces.add(side)

    def moved(self, side: Side) -> None:
        """It was built up there, all of it."""
        self.began(side)
        self.failures = 0

    def lose(self, why: str) -> None:
        """Its state is nowhere."""
        self.lost = why
        self.log.clear()

    def handover_failed(self, why: str) -> None:
        """One handover failed for a reason that may pass; the last one that may is final."""
        self.failures += 1
        if self.failures >= MOST_FAILURES:
            self.lose(f"its handover failed {self.failures} times; the last: {why}")

    def detach(self, side: Side) -> None:
        """That pool is gone, and what it had."""
        self.traces.discard(side)
        if self.home.value == side.value:
            self.home = Home.LOG
            self.epoch = 0

    @property
    def blank(self) -> bool:
        """Whether nothing was ever answered in it, and nothing may have changed it."""
        return not (self.operations or self.version or self.doubt or self.lost or self.log)

    @property
    def known(self) -> bool:
        """Whether there is such a session, for whoever lists them."""
        return self.home is not Home.NEW


class Ledger:
    """All sessions of a migrating pool, by id. Each method changes the `table` in one step of the interpreter."""

    def __init__(self, make_turn: Callable[[], Any]) -> None:
        self._make_turn = make_turn
        self.table: dict[str, Record] = {}

    def get(self, session_id: str) -> Record | None:
        """The record, if there is one."""
        return self.table.get(session_id)

    def begin(self, session_id: str) -> Record:
        """The record, new if there was none."""
        record = self.table.get(session_id)
        return record or self.table.setdefault(session_id, Record(session_id, self._make_turn()))

    def end(self, record: Record, cleaned: set[Side]) -> None:
        """Forget the session, which these pools have forgotten too. The caller has the turn."""
        record.traces -= cleaned
        record.reset()
        if not record.traces and self.table.get(record.session_id) is record:
            del self.table[record.session_id]

    def records(self) -> list[Record]:
        """All records."""
        return list(self.table.values())

    def statuses(self) -> tuple[SessionStatus, ...]:
        """The sessions that there are."""
        return tuple(
            SessionStatus(session_id=r.session_id, operations=r.operations, version=r.version, worker_id=None)
            for r in self.records()
            if r.known
        )

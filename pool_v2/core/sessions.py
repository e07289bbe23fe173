"""The session table: which worker has which session's state, and how to rebuild it on another worker.

Pure; used under the pool's lock. The table outlives every client thread and every worker.

Rules
1. A session runs one call at a time, so its calls run in the order of its leases.
2. `version` counts the session's acknowledged state changes; `held` has the version that each worker has. A worker with
   an older version first repeats the missing changes: the handover. So a session has the same state on every worker.
3. The changes are kept in a log of bounded size. A full log is replaced by a snapshot, if the worker supports that.
   Otherwise the log is dropped, and the session lives only as long as a worker has its last version. After that, its
   calls raise SessionLost; a session never silently starts empty.
4. If a session ends while calls of it wait, these calls begin it anew, empty. A worker that still has state of the
   ended session is `stale`: it cleans up before it serves the new session.
5. Every step takes the same time, however many sessions there are. The sessions are in the order of their last use, so
   the expired ones come first, and the entry of a worker that has ended is removed when a session next meets it.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from poolproof.bridge import SessionStatus
from poolproof.bridge.redaction import redact

MOST_HANDOVER_FAILURES = 3
MOST_KNOWN_WORKERS = 16
"""A session with entries of more workers than this removes the entries of ended workers."""
CLEAN_UP = "cleanup_session"
"""The worker's command that forgets a session."""


class StateChange(msgspec.Struct, frozen=True):
    """An acknowledged command that a handover repeats; `args` are the arguments as sent."""

    command: str
    args: dict[str, Any]

    def __repr__(self) -> str:
        return f"StateChange({self.command!r}, {redact(self.args)!r})"


class Session:
    """One session. `version` counts its acknowledged state changes, `operations` its answered calls."""

    __slots__ = (
        "base",
        "base_version",
        "failures",
        "held",
        "holder",
        "log",
        "log_bytes",
        "lost",
        "operations",
        "session_id",
        "stale",
        "used_ns",
        "users",
        "version",
        "worker_id",
    )

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        self.users: frozenset[int] = frozenset()
        self.holder: Any = None
        self.used_ns = 0
        self.stale: frozenset[int] = frozenset()
        self.reset()

    def reset(self) -> None:
        """Forget everything: the session is new."""
        self.worker_id: int | None = None
        self.operations = 0
        self.version = 0
        self.held: dict[int, int] = {}
        self.base: StateChange | None = None
        self.base_version = 0
        self.log: list[StateChange] | None = []
        self.log_bytes = 0
        self.lost = ""
        self.failures = 0

    def lacks(self, worker_id: int) -> tuple[StateChange, ...]:
        """Return the changes that this worker must repeat to get the session's state. Sets `lost` without a log."""
        clean_up: tuple[StateChange, ...] = ()
        if worker_id in self.stale:
            clean_up = (StateChange(CLEAN_UP, {"session_id": self.session_id}),)
        has = self.held.get(worker_id, 0)
        if has == self.version:
            return clean_up
        if self.log is None:
            self.lost = (
                f"its state was lost with worker {self.worker_id}, because the session's log had "
                "outgrown session_log_bytes"
            )
            return ()
        if self.base is not None and has < self.base_version:
            return (*clean_up, self.base, *self.log)
        return (*clean_up, *self.log[max(has - self.base_version, 0) :])

    def met(self, worker_id: int) -> None:
        """Record that this worker now has the session's last version."""
        self.worker_id = worker_id
        if self.stale:
            self.stale -= {worker_id}
        self.held[worker_id] = self.version

    def answered(self, worker_id: int) -> None:
        """Record that this worker, which had the last version, has answered a call.

        If the session has ended during the call, the worker still has state from before: it stays stale.
        """
        if worker_id not in self.stale:
            self.met(worker_id)

    def changed(self, change: StateChange, size_bytes: int, worker_id: int, *, limit_bytes: int) -> bool:
        """Record an acknowledged change whose request had `size_bytes`. Returns whether the log is now full."""
        self.version += 1
        if worker_id not in self.stale:
            self.held[worker_id] = self.version
        if self.log is None:
            return False
        self.log.append(change)
        self.log_bytes += size_bytes
        return self.log_bytes > limit_bytes

    def condense(self, base: StateChange | None, size_bytes: int, *, limit_bytes: int) -> None:
        """Replace the full log with a snapshot's restore command. Without one, or if it is too large, drop the log."""
        if base is None or size_bytes > limit_bytes:
            self.log = self.base = None
            return
        self.base, self.base_version = base, self.version
        self.log, self.log_bytes = [], size_bytes

    @property
    def blank(self) -> bool:
        """Whether no call of the session has been answered yet."""
        return not self.operations and not self.version and not self.lost


class SessionTable:
    """All sessions of a pool, by id and in the order of their last use."""

    def __init__(
        self,
        in_flight: Callable[[int], bool] = lambda number: True,
        has_worker: Callable[[int], bool] = lambda worker_id: True,
    ) -> None:
        """`in_flight` returns whether a call has not ended yet, `has_worker` whether there is a worker of this id."""
        self.in_flight = in_flight
        self.has_worker = has_worker
        self._sessions: OrderedDict[str, Session] = OrderedDict()  # not used for the longest time first
        self._stale: dict[int, set[str]] = {}  # by worker: ended sessions of which it still has state

    def begin(self, session_id: str, number: int) -> Session:
        """Return the session for the call `number`; create the session if there is none."""
        session = self._sessions.get(session_id)
        if session is None:
            session = self._sessions[session_id] = Session(session_id)
            session.stale = self._take_stale(session_id)
        elif len(session.held) + len(session.stale) > MOST_KNOWN_WORKERS:
            session.held = {one: version for one, version in session.held.items() if self.has_worker(one)}
            session.stale = frozenset(filter(self.has_worker, session.stale))
        session.users |= {number}
        return session

    def release(self, session: Session, number: int, now_ns: int) -> None:
        """Record that this call no longer uses the session. Drops a blank session with its last call. Idempotent.

        A session that has a holder stays: the supervisor has still to take a worker back from an interrupted call.
        """
        session.users -= {number}
        session.used_ns = now_ns
        if self._sessions.get(session.session_id) is not session:
            return
        if not session.users and session.blank and session.holder is None:
            self._drop(session)
        else:
            self._sessions.move_to_end(session.session_id)

    def end(self, session_id: str, *, cleaned_on: int | None = None) -> bool:
        """Forget the session's state; waiting calls begin it anew. Returns False if the session did not exist.

        `cleaned_on` is the worker that has also forgotten the session.
        """
        session = self._sessions.get(session_id)
        if session is None:
            return False
        session.stale |= session.held.keys() - {cleaned_on}
        session.reset()
        if not self._used(session) and session.holder is None:
            self._drop(session)
        return True

    def _used(self, session: Session) -> bool:
        # A call that was interrupted in its last step may have ended without a release, and an abandoned call has ended
        # for its client only.
        if session.users:
            session.users = frozenset(filter(self.in_flight, session.users))
        return bool(session.users) or (session.holder is not None and session.holder.worker is not None)

    def _drop(self, session: Session) -> None:
        del self._sessions[session.session_id]
        for worker_id in filter(self.has_worker, session.stale):
            self._stale.setdefault(worker_id, set()).add(session.session_id)

    def _take_stale(self, session_id: str) -> frozenset[int]:
        if not self._stale:
            return frozenset()
        found = frozenset(worker_id for worker_id, ended in self._stale.items() if session_id in ended)
        for worker_id in found:
            self._stale[worker_id].remove(session_id)
        return found

    def get(self, session_id: str) -> Session | None:
        """Return the session, or None if there is none."""
        return self._sessions.get(session_id)

    def end_expired(self, ttl_ns: int, now_ns: int, most: int) -> tuple[list[Session], bool]:
        """End sessions that no call has used for `ttl_ns`. Looks at `most` sessions.

        Returns those whose state a worker must forget first, and whether there may be more to look at. These, and those
        that a call is using, count as used now, so they are next looked at after `ttl_ns`.
        """
        found: list[Session] = []
        oldest = list(itertools.islice(self._sessions.values(), most))
        for session in oldest:
            if now_ns - session.used_ns < ttl_ns:
                return found, False
            used = (session.users or session.holder is not None) and self._used(session)
            if not used and not any(map(self.has_worker, session.held)):
                self._drop(session)
                continue
            session.used_ns = now_ns
            self._sessions.move_to_end(session.session_id)
            if not used:
                found.append(session)
        return found, len(oldest) == most

    def is_unused(self, session: Session, since_ns: int) -> bool:
        """Return whether the session has not ended, and no call has used it since `end_expired` returned it."""
        known = self._sessions.get(session.session_id) is session
        return known and session.used_ns == since_ns and not self._used(session)

    def forget_worker(self, worker_id: int) -> None:
        """Record that the worker has ended, so it has no state of ended sessions any more."""
        self._stale.pop(worker_id, None)

    def __contains__(self, session_id: str) -> bool:
        return session_id in self._sessions

    def __len__(self) -> int:
        return len(self._sessions)

    def all_sessions(self) -> list[Session]:
        """Return all sessions as they are now. A single step of the interpreter: needs no lock."""
        return list(self._sessions.values())

    def statuses(self, sessions: Iterable[Session]) -> list[SessionStatus]:
        """Return the statuses of those of `sessions` that have not ended."""
        return [
            SessionStatus(session_id=s.session_id, operations=s.operations, version=s.version, worker_id=s.worker_id)
            for s in sessions
            if self._sessions.get(s.session_id) is s
        ]

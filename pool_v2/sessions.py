"""The table of sessions: whose state lives on which worker, and how to rebuild it on another.

Pure; used under the pool's lock. The table outlives every client thread and every worker.

Rules
1. A session runs one call at a time (`busy`), so the order of its calls is the order of its leases.
2. Its calls go to the worker that has its state, as long as that worker lives.
3. Every acknowledged command that changes state is kept in the session's log. When the worker is gone, the next
   worker first repeats the log: the handover.
4. A log past its limit is dropped. Such a session lives as long as its worker; after that its calls end in SessionLost.
"""

from __future__ import annotations

from typing import Any

import msgspec

from bridge import SessionStatus


class StateChange(msgspec.Struct, frozen=True):
    """An acknowledged command that a handover repeats."""

    command: str
    args: dict[str, Any]


class Session:
    """One session. `version` counts its acknowledged state changes, `operations` its answered calls."""

    __slots__ = ("busy", "log", "log_bytes", "lost", "operations", "session_id", "version", "worker_id")

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        self.worker_id: int | None = None
        self.busy = False
        self.operations = 0
        self.version = 0
        self.log: list[StateChange] | None = []
        self.log_bytes = 0
        self.lost = ""

    def move(self, worker_id: int) -> tuple[StateChange, ...]:
        """Bind the session to `worker_id`; what has to be repeated there first. Sets `lost` if nobody can know."""
        if self.worker_id == worker_id:
            return ()
        former, self.worker_id = self.worker_id, worker_id
        if self.log is None and former is not None:
            self.lost = f"its state went with worker {former}, and its log had outgrown the limit"
            return ()
        return tuple(self.log or ())

    def answered(self) -> None:
        """Count one answered call."""
        self.operations += 1

    def changed(self, change: StateChange, size_bytes: int, *, limit_bytes: int) -> None:
        """Record one acknowledged state change whose request had `size_bytes`."""
        self.version += 1
        if self.log is None:
            return
        self.log_bytes += size_bytes
        if self.log_bytes > limit_bytes:
            self.log = None
        else:
            self.log.append(change)


class SessionTable:
    """All sessions of a pool, by id."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}

    def begin(self, session_id: str) -> Session:
        """The session, new if there was none."""
        session = self._sessions.get(session_id)
        if session is None:
            session = self._sessions[session_id] = Session(session_id)
        return session

    def end(self, session_id: str) -> bool:
        """Forget the session; False if there was none."""
        return self._sessions.pop(session_id, None) is not None

    def __contains__(self, session_id: str) -> bool:
        return session_id in self._sessions

    def __len__(self) -> int:
        return len(self._sessions)

    def statuses(self) -> tuple[SessionStatus, ...]:
        """A snapshot."""
        return tuple(
            SessionStatus(session_id=s.session_id, operations=s.operations, version=s.version, worker_id=s.worker_id)
            for s in self._sessions.values()
        )

"""Tracks which workers of a run's pool are busy, by their journals, or by the pool's events if they keep no journals.

Knows nothing of faults. The methods are called in several threads; each change is one atomic change of a dict.
"""

from __future__ import annotations

from poolproof.bridge import Event, EventKind


class WorkerTracker:
    """The busy workers by pid. `seen` holds the pids of all workers so far.

    `journalled` says that the workers keep journals. Then the pool's events do not decide which workers are busy, since
    they may be delivered after the call is over.
    """

    def __init__(self) -> None:
        self.seen: set[int] = set()
        self.journalled = False
        self._busy: dict[int, int | None] = {}

    def begin(self, pid: int, worker: int | None) -> None:
        """Record that this worker has begun a request."""
        self.seen.add(pid)
        self._busy[pid] = worker

    def end(self, pid: int) -> None:
        """Record that this worker is not busy: it has answered, or it has ended."""
        self._busy.pop(pid, None)

    def observe(self, event: Event) -> None:
        """Record an event of the pool."""
        if event.pid is None:
            return
        match event.kind:
            case EventKind.SPAWN:
                self.seen.add(event.pid)
            case EventKind.KILL | EventKind.REAP:
                self.end(event.pid)
            case EventKind.SEND if not self.journalled:
                self.begin(event.pid, event.worker)
            case EventKind.RECEIVE if not self.journalled:
                self.end(event.pid)
            case _:
                pass

    def busiest(self) -> tuple[int, int | None] | None:
        """Return the pid and id of the worker that has been busy longest; None if no worker is busy."""
        return next(iter(list(self._busy.items())), None)

    def busy(self, pid: int) -> bool:
        """Return whether this worker is busy with a request."""
        return pid in self._busy

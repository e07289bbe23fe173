"""Which workers of a run's pool are at work now, by their own journals; by the pool's events if they keep none.

Knows nothing of faults. It is told in several threads, and each change is one atomic change of a dict.
"""

from __future__ import annotations

from poolproof.bridge import Event, EventKind


class WorkerTracker:
    """The busy workers by pid. `seen` are the pids of all workers that ever were.

    `journalled` says that the workers keep journals: then the pool's events say nothing of who is busy, since they may
    be delivered when the call is over.
    """

    def __init__(self) -> None:
        self.seen: set[int] = set()
        self.journalled = False
        self._busy: dict[int, int | None] = {}

    def begin(self, pid: int, worker: int | None) -> None:
        """This worker has begun a request."""
        self.seen.add(pid)
        self._busy[pid] = worker

    def end(self, pid: int) -> None:
        """This worker is at work on nothing: it has answered, or it has ended."""
        self._busy.pop(pid, None)

    def observe(self, event: Event) -> None:
        """A step of the pool."""
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
        """Pid and id of the worker that has been busy longest; None if none is."""
        return next(iter(list(self._busy.items())), None)

    def busy(self, pid: int) -> bool:
        """Whether this worker is at work on a request."""
        return pid in self._busy

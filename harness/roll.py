"""Who is at work: the living workers of a run's pool, by its own events, and which of them is busy.

Knows nothing of faults. It is told of events in many threads, and each step of it is one atomic change of a dict.
"""

from __future__ import annotations

from bridge import Event, EventKind


class Roll:
    """The workers by pid. `seen` are all that ever were."""

    def __init__(self) -> None:
        self.seen: set[int] = set()
        self._living: dict[int, int | None] = {}
        self._busy: dict[int, int | None] = {}

    def observe(self, event: Event) -> None:
        """A step of the pool."""
        if event.pid is None:
            return
        match event.kind:
            case EventKind.SPAWN:
                self.seen.add(event.pid)
            case EventKind.READY:
                self._living[event.pid] = event.worker
            case EventKind.SEND:
                self._busy[event.pid] = event.worker
            case EventKind.RECEIVE:
                self._busy.pop(event.pid, None)
            case EventKind.KILL | EventKind.REAP:
                self._busy.pop(event.pid, None)
                self._living.pop(event.pid, None)
            case _:
                pass

    def busiest(self) -> tuple[int, int | None] | None:
        """Pid and id of the worker that has been busy longest; None if none is."""
        return next(iter(list(self._busy.items())), None)

    def busy(self, pid: int) -> bool:
        """Whether this worker is at work on a call."""
        return pid in self._busy

    @property
    def ready(self) -> int:
        """How many workers are ready or at work."""
        return len(self._living)

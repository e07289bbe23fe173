"""The work of a pool that its supervisor delegates."""

from __future__ import annotations

from poolproof.pool_v2.core.worker_table import NEVER_NS, Worker


class Duties:
    """Work that the supervisor delegates, because it must not wait. It calls each method from its own thread."""

    def started(self, worker: Worker) -> None:
        """Handle a worker that answered its init ping."""

    def ping(self, worker: Worker) -> None:
        """Check the health of an idle worker."""

    def ended(self, worker: Worker, reason: str) -> None:
        """Handle a worker that has ended."""

    def beat(self, now: int) -> int:
        """Do periodic work. Returns when to call again at the latest, in nanoseconds."""
        return NEVER_NS

    def stop(self) -> None:
        """Finish the remaining work when the pool closes, and end."""

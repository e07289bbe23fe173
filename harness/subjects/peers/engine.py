"""What an adapter has to give of a peer: a way to run a function in another process, and a Future of it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol

from poolproof.bridge import PoolConfig

Initargs = tuple[dict[str, str], str | None, int]


class Engine(Protocol):
    """One open pool of a peer."""

    crashes: tuple[type[BaseException], ...]
    """What a future raises whose worker has died."""

    refusals: tuple[type[BaseException], ...]
    """What `submit` raises once the peer is closed."""

    cancels_running: bool
    """Whether cancelling a running call ends its worker."""

    crash_is_own: bool
    """Whether a crash names the call that was served, and is not told to all others too."""

    def submit(self, function: Callable[[Any], Any], argument: object) -> Future[Any]:
        """Have `function(argument)` run in a worker."""
        ...

    def end(self, *, busy: bool) -> None:
        """End all workers, those that are busy by force; return when they are gone."""
        ...


def initargs(config: PoolConfig) -> Initargs:
    """The arguments of service.begin for this pool."""
    return dict(config.env), config.log_dir, config.max_frame_bytes

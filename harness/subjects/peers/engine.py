"""The interface of an adapter to a peer: it runs a function in another process and returns a Future."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol

from poolproof.bridge import PoolConfig

Initargs = tuple[dict[str, str], str | None, int]


class Engine(Protocol):
    """One open pool of a peer."""

    crashes: tuple[type[BaseException], ...]
    """The errors of a future whose worker has died."""

    refusals: tuple[type[BaseException], ...]
    """The errors of `submit` after the peer is closed."""

    cancels_running: bool
    """Whether cancelling a running call ends its worker."""

    crash_is_own: bool
    """Whether only the call of the dead worker gets the crash error; if not, all other running calls get it too."""

    def submit(self, function: Callable[[Any], Any], argument: object) -> Future[Any]:
        """Run `function(argument)` in a worker."""
        ...

    def end(self, *, busy: bool) -> None:
        """End all workers; return when they are gone. With `busy` some workers are busy and are ended by force."""
        ...


def initargs(config: PoolConfig) -> Initargs:
    """Return the arguments of service.begin for this pool."""
    return dict(config.env), config.log_dir, config.max_frame_bytes

"""The answer of a driver to `status`. Pure."""

from __future__ import annotations

from typing import Literal

import msgspec

from poolproof.bridge import Statistics


class ToldWorker(msgspec.Struct, frozen=True, kw_only=True):
    """A worker in the answer to `status`."""

    worker: int
    pid: int
    state: Literal["starting", "idle", "leased", "dying"]
    served: int = 0


class ToldSession(msgspec.Struct, frozen=True, kw_only=True):
    """A session in the answer to `status`."""

    session: str
    operations: int
    version: int | None = None
    worker: int | None = None


class ToldStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `status`; a driver may leave out what its pool does not know."""

    waiting: int = 0
    live: int | None = None
    workers: tuple[ToldWorker, ...] = ()
    sessions: tuple[ToldSession, ...] = ()
    statistics: Statistics | None = None
    reasons: tuple[str, ...] = ()

"""Where the position of a migration comes from: the state file of one host, or a feature flag that hosts share.

Independent of pools. `Control` follows either by the same rules; it knows neither files nor providers of flags.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from poolproof.bridge import ConfigError
from poolproof.migration.followers.place import state_path
from poolproof.migration.plan import Plan, Position
from poolproof.migration.state import Entry, StateError, StateFile

logger = logging.getLogger("poolproof.migration")


class Source(Protocol):
    """Holds the position. Every method may be called from any thread, and none waits for a network."""

    @property
    def name(self) -> str:
        """The source in words: a path, or "the flag KEY of PROVIDER"."""
        ...

    def stamp(self) -> object:
        """Return a value that changes whenever `read` would return something else."""
        ...

    def read(self) -> Entry | None:
        """Return the active entry; None if there is none. Its `trouble` says why the position is unknown."""
        ...

    def write(
        self, position: Position, *, who: str, why: str, expected: int | None = None, above: int = 0, paused: str = ""
    ) -> Entry:
        """Write a position, see StateFile.write. Raises StateError, without effect."""
        ...

    def close(self) -> None:
        """Stop following. Idempotent."""
        ...


def open_file(plan: Plan) -> StateFile | None:
    """Return the state file of the plan, beside which followers register; None if the migration is private to its pool.

    Raises StateError if a state file is named and its folder does not exist.
    """
    path = state_path(plan)
    if path is None:
        return None
    if plan.state_file is None:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            logger.error("the migration cannot be followed: %s cannot be made: %s", path.parent, error.strerror)
    elif not path.parent.is_dir():
        raise StateError(f"{path}: there is no folder {path.parent}")
    return StateFile(path)


def open_source(plan: Plan, file: StateFile | None, wake: Callable[[], None]) -> Source | None:
    """Return what sets the position: the plan's flag, or else the state file; None if only the pool itself does.

    `wake` is called when the flag has changed. Raises ConfigError if the plan has a flag and OpenFeature is missing.
    """
    if not plan.flag:
        return file
    try:
        from poolproof.migration.flag import FlagSource
    except ModuleNotFoundError as error:
        raise ConfigError(f"flag {plan.flag!r}: {error}") from error
    return FlagSource(plan.flag, plan.poll_s, wake)

"""A mutant: a pool with one planted bug, or an equivalent pool, which differs and is as good.

A bug is a function that replaces a few attributes of the pool's classes in its own process. It refuses to know how
the pool is run. What it replaces must exist: a seam that has moved is an error, never a mutant that changes nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import msgspec

from harness.errors import HarnessError

V1, V2 = "v1", "v2"
BOTH = (V1, V2)
FIXES = ("unframed write", "double unwrapping", "I/O in the manager", "init not filtered", "stderr merged")
"""What made V2 work; each is also a planted bug."""
GUARANTEES = tuple(f"G{number}" for number in range(1, 28))
"""Those that a pool can break. G28 is about the harness: it holds when each of these has a killed mutant."""


class MutantError(HarnessError):
    """A bug cannot be planted where it was meant to be."""


class Mutant(msgspec.Struct, frozen=True, kw_only=True):
    """One bug in one pool.

    `breaks` are the guarantees that it breaks, none for an equivalent. `scenarios` are those that should kill it.
    `fix` is one of FIXES if it undoes that. `worker` is the name of a bug of harness.selfcheck.worker that its workers
    have. `workers` replaces the size of the pool.
    """

    name: str
    pool: str
    about: str
    plant: Callable[[], None]
    scenarios: tuple[str, ...]
    breaks: tuple[str, ...] = ()
    fix: str = ""
    worker: str = ""

    @property
    def key(self) -> str:
        """The pool's name in commands, folders and reports: `v2.lifo_queue`."""
        return f"{self.pool}.{self.name}"

    @property
    def equivalent(self) -> bool:
        """Whether it must not be accused."""
        return not self.breaks


class Nursery:
    """Collects the mutants that a module defines."""

    def __init__(self) -> None:
        self.mutants: list[Mutant] = []

    def bug(
        self,
        *pools: str,
        breaks: tuple[str, ...],
        scenarios: tuple[str, ...],
        fix: str = "",
        worker: str = "",
    ) -> Callable[[Callable[[], None]], Callable[[], None]]:
        """Make the function that follows a mutant of each pool; its name and docstring are the mutant's."""

        def add(plant: Callable[[], None]) -> Callable[[], None]:
            about = (plant.__doc__ or "").strip().splitlines()[0]
            self.mutants += [
                Mutant(
                    name=plant.__name__,
                    pool=pool,
                    about=about,
                    plant=plant,
                    scenarios=scenarios,
                    breaks=breaks,
                    fix=fix,
                    worker=worker,
                )
                for pool in pools
            ]
            return plant

        return add


_REPLACED: list[tuple[Any, str, Any]] = []


def replace(owner: Any, name: str, make: Callable[[Any], Any]) -> None:  # noqa: ANN401 - a class or a module
    """Put `make(original)` in the place of the attribute that `owner` itself defines.

    Raises MutantError if there is none, or if a function's callers could not call what takes its place.
    """
    if name not in vars(owner):
        raise MutantError(f"{owner.__name__} has no {name!r} of its own; the bug must be planted elsewhere")
    original = vars(owner)[name]
    made = make(original)
    if inspect.isfunction(original) and inspect.isfunction(made):
        _require_same_calls(f"{owner.__name__}.{name}", inspect.signature(original), inspect.signature(made))
    _REPLACED.append((owner, name, original))
    setattr(owner, name, made)


def _require_same_calls(where: str, original: inspect.Signature, made: inspect.Signature) -> None:
    # A call with everything, and one with only what must be there.
    named = [each for each in original.parameters.values() if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
    for some in (named, [each for each in named if each.default is each.empty]):
        try:
            made.bind(
                *(each.name for each in some if each.kind is not each.KEYWORD_ONLY),
                **{each.name: None for each in some if each.kind is each.KEYWORD_ONLY},
            )
        except TypeError as error:
            raise MutantError(f"{where}{original} cannot be replaced by one of {made}: {error}") from error


def uproot() -> tuple[str, ...]:
    """Undo every `replace`; the names that they had relied on."""
    names = []
    while _REPLACED:
        owner, name, original = _REPLACED.pop()
        setattr(owner, name, original)
        names.append(f"{owner.__name__}.{name}")
    return tuple(reversed(names))

"""A mutant: a pool with one planted bug, or an equivalent pool, which differs from the shipped pool and is as good.

Pure. A bug is a function that replaces a few functions of the pools in its own process (planting.py). It does not
depend on how the pool is run.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from poolproof.harness.model.docstring import summary_of

V1, V2 = "v1", "v2"
BOTH = (V1, V2)
FIXES = ("unframed write", "double unwrapping", "I/O in the manager", "init not filtered", "stderr merged")
"""The fixes that made V2 work; the absence of each is also a planted bug."""
GUARANTEES = tuple(f"G{number}" for number in range(1, 28))
"""The guarantees that a pool can break. G28 is about the harness: it holds if each guarantee has a killed mutant."""
EXECUTE = "execute"
"""The name of the default face, as in poolproof.harness.model.face."""


class Mutant(msgspec.Struct, frozen=True, kw_only=True):
    """One bug in one pool.

    `breaks` are the guarantees that it breaks; an equivalent breaks none. `scenarios` should kill it, run through
    `face`. `observed_because` gives the reason for an observer; if it is empty, runs have no observer, as in
    production. `fix` is the one of FIXES that the bug undoes. `worker` names a bug of poolproof.harness.mutation.worker
    for the pool's workers.
    """

    name: str
    pool: str
    about: str
    plant: Callable[[], None]
    scenarios: tuple[str, ...]
    breaks: tuple[str, ...] = ()
    fix: str = ""
    worker: str = ""
    face: str = EXECUTE
    observed_because: str = ""

    @property
    def key(self) -> str:
        """The mutant's name in commands, folders and reports, such as `v2.lifo_queue`."""
        return f"{self.pool}.{self.name}"

    @property
    def equivalent(self) -> bool:
        """Whether this is an equivalent, which must not be accused."""
        return not self.breaks

    @property
    def observed(self) -> bool:
        """Whether the mutant's runs have an observer."""
        return bool(self.observed_because)


class Registry:
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
        observed_because: str = "",
        face: str = EXECUTE,
    ) -> Callable[[Callable[[], None]], Callable[[], None]]:
        """A decorator that makes a function a mutant of each pool, with the function's name and docstring."""

        def add(plant: Callable[[], None]) -> Callable[[], None]:
            about = summary_of(plant)
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
                    observed_because=observed_because,
                    face=face,
                )
                for pool in pools
            ]
            return plant

        return add

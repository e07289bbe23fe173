"""A mutant: a pool with one planted bug, or an equivalent pool, which differs and is as good.

Pure. A bug is a function that replaces a few functions of the pools in its own process
(poolproof.harness.mutation.planting). It refuses to know how the pool is run.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

V1, V2 = "v1", "v2"
BOTH = (V1, V2)
FIXES = ("unframed write", "double unwrapping", "I/O in the manager", "init not filtered", "stderr merged")
"""What made V2 work; each is also a planted bug."""
GUARANTEES = tuple(f"G{number}" for number in range(1, 28))
"""Those that a pool can break. G28 is about the harness: it holds when each of these has a killed mutant."""
EXECUTE = "execute"
"""The name of the usual face, in poolproof.harness.model.face."""


class Mutant(msgspec.Struct, frozen=True, kw_only=True):
    """One bug in one pool.

    `breaks` are the guarantees that it breaks, none for an equivalent. `scenarios` are those that should kill it, run
    through `face`. `observed_because` says why the run has an observer; without a reason it has none, as in production.
    `fix` is one of FIXES if it undoes that. `worker` is the name of a bug of poolproof.harness.mutation.worker that
    its workers have.
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
        """The pool's name in commands, folders and reports: `v2.lifo_queue`."""
        return f"{self.pool}.{self.name}"

    @property
    def equivalent(self) -> bool:
        """Whether it must not be accused."""
        return not self.breaks

    @property
    def observed(self) -> bool:
        """Whether its runs have an observer."""
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
                    observed_because=observed_because,
                    face=face,
                )
                for pool in pools
            ]
            return plant

        return add

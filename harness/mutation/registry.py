"""Everything that a self-check can run: the mutants by name, the scenarios, the probes and the lifecycle tests."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from poolproof.harness.compare.catalogue import all_scenarios
from poolproof.harness.model.errors import UsageError
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.mutation.bugs import equivalents
from poolproof.harness.mutation.bugs import faces as bugs_faces
from poolproof.harness.mutation.bugs import options as bugs_options
from poolproof.harness.mutation.bugs import processes as bugs_processes
from poolproof.harness.mutation.bugs import v1 as bugs_v1
from poolproof.harness.mutation.bugs import v2 as bugs_v2
from poolproof.harness.mutation.bugs import v2_ends as bugs_v2_ends
from poolproof.harness.mutation.bugs import v2_starts as bugs_v2_starts
from poolproof.harness.mutation.bugs import wire as bugs_wire
from poolproof.harness.mutation.lifecycle_tests.all import LIFECYCLE_TESTS
from poolproof.harness.mutation.lifecycle_tests.lifecycle_test import LifecycleTest
from poolproof.harness.mutation.mutant import Mutant

Stage = Scenario | LifecycleTest
"""A test that a mutant can run in."""


def all_mutants() -> tuple[Mutant, ...]:
    """Return all mutants: every planted bug, then every equivalent, each with its pool."""
    registries = (bugs_wire, bugs_processes, bugs_v1, bugs_v2, bugs_v2_starts, bugs_v2_ends, bugs_options, equivalents)
    found = {module: tuple(module.REGISTRY.mutants) for module in registries}
    good = found.pop(equivalents)
    return (*(mutant for mutants in found.values() for mutant in mutants), *bugs_faces.MUTANTS, *good)


def find_mutants(wanted: Sequence[str]) -> list[Mutant]:
    """The mutants of these names, such as `v2.lifo_queue`; all if none is given. Raises UsageError for a bad name."""
    mutants = all_mutants()
    found: dict[str, Mutant] = {}
    for word in wanted:
        fitting = [mutant for mutant in mutants if word in (mutant.name, mutant.key)]
        if not fitting:
            known = [name for mutant in mutants for name in (mutant.name, mutant.key)]
            near = difflib.get_close_matches(word, known, n=1, cutoff=0.4)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UsageError(f"there is no mutant {word!r}{hint}")
        found |= {mutant.key: mutant for mutant in fitting}
    return list(found.values()) if wanted else list(mutants)


def all_stages() -> dict[str, Stage]:
    """The catalogue, the probes and the lifecycle tests, by name."""
    stages: dict[str, Stage] = {**all_scenarios()}
    for stage in LIFECYCLE_TESTS:
        assert stage.name not in stages, f"{stage.name!r} names two stages"
        stages[stage.name] = stage
    return stages

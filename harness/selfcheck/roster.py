"""Everything that a self-check can run: the mutants by name, and the scenarios, probes and drills. Of the porch."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from poolproof.harness.catalogue import all_scenarios
from poolproof.harness.errors import UsageError
from poolproof.harness.scenario import Scenario
from poolproof.harness.selfcheck import bugs_faces, bugs_v1, bugs_v2, bugs_v2_ends, bugs_wire, equivalents
from poolproof.harness.selfcheck.drill import Drill
from poolproof.harness.selfcheck.drills import DRILLS
from poolproof.harness.selfcheck.face_probes import FACE_PROBES
from poolproof.harness.selfcheck.mutant import Mutant
from poolproof.harness.selfcheck.probes import PROBES
from poolproof.harness.selfcheck.start_drills import START_DRILLS
from poolproof.harness.selfcheck.task_drills import TASK_DRILLS

Stage = Scenario | Drill
"""Where a mutant can be put to the test."""


def all_mutants() -> tuple[Mutant, ...]:
    """Every bug, then every equivalent, each for its pool."""
    registries = (bugs_wire, bugs_v1, bugs_v2, bugs_v2_ends, equivalents)
    found = {module: tuple(module.REGISTRY.mutants) for module in registries}
    good = found.pop(equivalents)
    return (*(mutant for mutants in found.values() for mutant in mutants), *bugs_faces.MUTANTS, *good)


def find_mutants(wanted: Sequence[str]) -> list[Mutant]:
    """Those of these names, `lifo_queue` or `v2.lifo_queue`; all if none is named. Raises UsageError."""
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
    """The catalogue, the probes and the drills, by name."""
    stages: dict[str, Stage] = {**all_scenarios()}
    own: tuple[Stage, ...] = (*PROBES, *FACE_PROBES, *DRILLS, *START_DRILLS, *TASK_DRILLS)
    for stage in own:
        assert stage.name not in stages, f"{stage.name!r} names two stages"
        stages[stage.name] = stage
    return stages

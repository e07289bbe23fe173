"""Reads the recorded runs of a self-check: which checker has accused which mutant, in which history.

An entry point. With these histories a loosened checker can judge again without running a pool.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from poolproof.harness.model.checker import Checker
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.mutation.loosened.loosenings import FOLDER
from poolproof.harness.mutation.matrix import KillMatrix, accusers
from poolproof.harness.mutation.registry import all_stages
from poolproof.harness.run.store import RunFolder

PREFIX = "poolproof." + FOLDER.replace("/", ".")


class Kill(msgspec.Struct, frozen=True, kw_only=True):
    """One accusation. `module`, `kind` and `fields` make the checker anew; all are empty if it has no history.

    `aimed`: the checker decides a guarantee that the mutant breaks.
    """

    mutant: str
    stage: str
    checker: str
    folder: str
    aimed: bool
    module: str = ""
    kind: str = ""
    fields: Mapping[str, Any] = {}

    @property
    def again(self) -> bool:
        """Whether the checker is one of harness/checkers, which can judge the history again."""
        return bool(self.module)


def find_kills(matrix: KillMatrix, home: Path) -> list[Kill]:
    """The accusations of a matrix. `home` is the folder of its runs, which may have been moved since."""
    stages = all_stages()
    controls = {cell.control: cell for cell in matrix.cells if not cell.mutant}
    breaks = {(row.pool, row.mutant): set(row.breaks) for row in matrix.rows}
    found = []
    for cell in matrix.cells:
        broken = breaks.get((cell.pool, cell.mutant))
        if not cell.mutant or broken is None:
            continue
        for judgement in accusers(cell, controls.get(cell.control)):
            stage = stages[cell.scenario]
            checker = _checker_of(stage, judgement.checker) if isinstance(stage, Scenario) else None
            folder = home / Path(cell.folder).name
            again = checker is not None and type(checker).__module__.startswith(PREFIX) and _has_history(folder)
            found.append(
                Kill(
                    mutant=f"{cell.pool}.{cell.mutant}",
                    stage=cell.scenario,
                    checker=judgement.checker,
                    folder=str(folder),
                    aimed=bool(broken & set(judgement.guarantees)),
                    module=type(checker).__module__ if again else "",
                    kind=type(checker).__name__ if again else "",
                    fields=_fields_of(checker) if again else {},
                )
            )
    return found


def deciding(kills: Iterable[Kill]) -> dict[str, list[Kill]]:
    """The accusations that count, by mutant: those by a guarantee that the mutant breaks; if there are none, all."""
    by_mutant: dict[str, list[Kill]] = {}
    for kill in kills:
        by_mutant.setdefault(kill.mutant, []).append(kill)
    return {mutant: [kill for kill in own if kill.aimed] or own for mutant, own in by_mutant.items()}


def find_lost(kills: Iterable[Kill], silent: Iterable[Kill]) -> tuple[str, ...]:
    """The mutants that no checker accuses any more if the accusations in `silent` are not made."""
    gone = {(kill.mutant, kill.stage, kill.checker, kill.folder) for kill in silent}
    return tuple(
        sorted(
            mutant
            for mutant, own in deciding(kills).items()
            if all((kill.mutant, kill.stage, kill.checker, kill.folder) in gone for kill in own)
        )
    )


def still_fails(checker: Checker, folder: Path) -> bool:
    """Whether the checker fails the recorded run."""
    return checker.check(RunFolder(folder).read_history()).verdict is Verdict.FAIL


def _checker_of(stage: Scenario, name: str) -> Checker | None:
    return next((checker for checker in stage.checkers if checker.name == name), None)


def _fields_of(checker: Any) -> dict[str, Any]:  # noqa: ANN401 - any checker
    return {name: getattr(checker, name) for name in checker.__struct_fields__}


def _has_history(folder: Path) -> bool:
    return (folder / "run.json").is_file()

"""The command `list`: scenarios, pools, faults, checkers and faces, each with one sentence."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from poolproof.harness.checkers import ALL
from poolproof.harness.cli.commands.options import Exit
from poolproof.harness.cli.output import Terminal
from poolproof.harness.cli.tables import show_table
from poolproof.harness.compare.catalogue import all_scenarios
from poolproof.harness.model.docstring import summary_of
from poolproof.harness.model.errors import UsageError
from poolproof.harness.model.fault import DESCRIPTIONS
from poolproof.harness.oracle import PARTS
from poolproof.harness.subjects.faces import ALL_FACES
from poolproof.harness.subjects.pools import offered_pools
from poolproof.harness.subjects.shipped import SUBJECTS
from poolproof.scenarios import SUITES


class Listed(StrEnum):
    """The things that can be listed."""

    SCENARIOS = "scenarios"
    POOLS = "pools"
    FAULTS = "faults"
    CHECKERS = "checkers"
    FACES = "faces"


def list_command(
    what: Annotated[Listed, typer.Argument(help="The kind of thing to list.")],
    suite: Annotated[
        str | None, typer.Option(metavar="SUITE", help="List the scenarios of this suite only: default, or dspy.")
    ] = None,
) -> int:
    """List all scenarios, pools, faults, checkers or faces (ways to call a pool), each with one sentence."""
    if suite is not None and what is not Listed.SCENARIOS:
        raise UsageError(f"--suite {suite!r}: only scenarios belong to suites; {what.value} do not")
    rows: list[tuple[str, ...]]
    match what:
        case Listed.SCENARIOS:
            columns = ("scenario", "shows", "about")
            suites = SUITES if suite is None else (suite,)
            listed = {s.name: s for one in suites for s in all_scenarios(one).values()}
            rows = [(s.name, " ".join((*s.failures, *s.guarantees)), s.summary) for s in listed.values()]
        case Listed.POOLS:
            columns = ("pool", "can", "about")
            rows = [(s.name, " ".join(sorted(s.capabilities)), s.summary) for s in SUBJECTS.values()]
            rows += [(point.name, "", f"offered by {point.value}") for point in offered_pools().values()]
        case Listed.FAULTS:
            columns = ("fault", "", "about")
            rows = [(kind.value, "", text) for kind, text in DESCRIPTIONS.items()]
        case Listed.CHECKERS:
            columns = ("checker", "", "about")
            rows = [(kind.__name__, "", summary_of(kind)) for kind in (*ALL, *PARTS)]
        case Listed.FACES:
            columns = ("face", "of", "about")
            had = {face.name: [s.name for s in SUBJECTS.values() if face in s.faces] for face in ALL_FACES}
            rows = [(face.name, " ".join(had[face.name]), face.summary) for face in ALL_FACES]
    show_table(Terminal(), columns, rows)
    return Exit.GOOD

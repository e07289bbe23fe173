"""What a child of this process is told, so that it finds this very package, and an application's modules.

A child runs with `-P` (`bridge.config.module_command`): the current folder, where a file may have the name of any
module, is not on its path while it imports the product. Then it `adopt`s its parent's path, so that it finds an
application's modules exactly where its parent does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

PATH_VARIABLE = "POOLPROOF_PATH"
"""How a parent tells its `sys.path` to a child."""
_HOME = str(Path(__file__).parents[3])
"""The folder that has the package."""


def environment(given: Mapping[str, str] | None = None) -> dict[str, str]:
    """What the environment of a child has beside `given` (os.environ), so that it finds the package and its modules."""
    given = os.environ if given is None else given
    path = [os.path.abspath(entry) for entry in sys.path]  # the empty string is the current folder
    told = {PATH_VARIABLE: os.pathsep.join(path)}
    mine = given.get("PYTHONPATH", "")
    if _HOME in path[: first_of_library(path)] and _HOME not in mine.split(os.pathsep):
        told["PYTHONPATH"] = os.pathsep.join([_HOME, mine] if mine else [_HOME])  # it is installed nowhere
    return told


def adopt() -> None:
    """Take over the path that this process was told by its parent, if it was told one, behind what is its own."""
    told = os.environ.get(PATH_VARIABLE)
    if told:
        path = told.split(os.pathsep)
        sys.path[:] = [entry for entry in sys.path if entry not in path] + path  # PYTHONPATH may be its pool's


def first_of_library(path: list[str]) -> int:
    """Where in a path the standard library begins; what is before it can stand in for any module."""
    library = os.path.dirname(os.__file__)
    return path.index(library) if library in path else len(path)

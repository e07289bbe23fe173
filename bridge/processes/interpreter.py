"""The environment of a child process, so that it finds this package and the application's modules.

A child runs with `-P` (`bridge.config.module_command`): the current folder, where a file may have the name of any
module, is not on its path while it imports the product. Then the child calls `adopt` to take over its parent's path, so
that it finds an application's modules exactly where its parent does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

PATH_VARIABLE = "POOLPROOF_PATH"
"""The environment variable with the parent's `sys.path`."""
OUTPUT_VARIABLE = "POOLPROOF_OUTPUT"
"""The environment variable of a worker whose output is shown: the descriptor of its parent's stdout, or "log"."""
TERM_VARIABLE = "POOLPROOF_TERM"
"""The environment variable of a worker in which SIGTERM raises SoftTimeout in the handler that runs."""
_HOME = str(Path(__file__).parents[3])
"""The folder that contains the package."""


def environment(given: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables that a child needs, beside `given` (default: os.environ), to find package and modules."""
    given = os.environ if given is None else given
    path = [os.path.abspath(entry) for entry in sys.path]  # the empty string means the current folder
    told = {PATH_VARIABLE: os.pathsep.join(path)}
    mine = given.get("PYTHONPATH", "")
    if _HOME in path[: first_of_library(path)] and _HOME not in mine.split(os.pathsep):
        told["PYTHONPATH"] = os.pathsep.join([_HOME, mine] if mine else [_HOME])  # the package is not installed
    return told


def adopt() -> None:
    """Take over the parent's path, if the environment has one. Entries that only this process has stay in front."""
    told = os.environ.get(PATH_VARIABLE)
    if told:
        path = told.split(os.pathsep)
        sys.path[:] = [entry for entry in sys.path if entry not in path] + path  # PYTHONPATH may be the pool's


def first_of_library(path: list[str]) -> int:
    """Where in a path the standard library begins; what is before it can stand in for any module."""
    library = os.path.dirname(os.__file__)
    return path.index(library) if library in path else len(path)

"""The command and the environment of a child process, so that it finds this package and the application's modules.

A child runs with `-P` (`bridge.config.module_command`): the current folder, where a file may have the name of any
module, is not on its path while it imports the product. Then the child calls `adopt` to take over its parent's path, so
that it finds an application's modules exactly where its parent does. It has its parent's flags, as the children of
multiprocessing have: what a parent ignores (`-I`, `-E`, `-s`, `-S`), its child ignores too.

The environment, the path and the flags are those of the moment when the child is started.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

PATH_VARIABLE = "POOLPROOF_PATH"
"""The environment variable with the parent's `sys.path`."""
OUTPUT_VARIABLE = "POOLPROOF_OUTPUT"
"""The environment variable of a worker whose output is shown: the descriptor of its parent's stdout, or "log"."""
WIRE_VARIABLE = "POOLPROOF_WIRE"
"""The environment variable with a worker's descriptor for responses, if it is not stdout: what the interpreter or a
sitecustomize prints at the start of the default worker is no response."""
TERM_VARIABLE = "POOLPROOF_TERM"
"""The environment variable of a worker in which SIGTERM raises SoftTimeout in the handler that runs."""
LETTERS = {
    "optimize": "O",
    "debug": "d",
    "dont_write_bytecode": "B",
    "no_site": "S",
    "verbose": "v",
    "bytes_warning": "b",
    "quiet": "q",
}
"""The interpreter's flags that count how often an option was given, each with the letter of that option."""
_HOME = os.path.normpath(f"{__file__}/../../../..")
"""The folder that contains the package."""
_ISOLATED = os.path.normpath(f"{__file__}/../isolated.py")


def with_flags(command: Sequence[str]) -> tuple[str, ...]:
    """Return a command of `module_command` with this interpreter's flags (-O, -I, -W, -X ...); any other unchanged."""
    if tuple(command[:3]) != (sys.executable, "-P", "-m") or not command[3].startswith("poolproof."):
        return tuple(command)
    alone = sys.flags.ignore_environment or sys.flags.no_site
    return (sys.executable, *_flags(), "-P", *((_ISOLATED,) if alone else ("-m",)), *command[3:])


def _flags() -> list[str]:
    # The standard library has such a function, but not for every -X option, and not if the program has changed
    # sys.warnoptions.
    flags = sys.flags
    words = [f"-{letter * getattr(flags, name)}" for name, letter in LETTERS.items() if getattr(flags, name)]
    if flags.isolated:
        words.append("-I")
    else:
        words += ["-E"] * flags.ignore_environment + ["-s"] * flags.no_user_site
    implied = {"default::BytesWarning", "error::BytesWarning"} if flags.bytes_warning else set()
    if flags.dev_mode:
        implied.add("default")
    words += [f"-W{option}" for option in sys.warnoptions if option not in implied]
    options = sys._xoptions | ({"dev": True} if flags.dev_mode else {})
    for name, value in options.items():
        words += ["-X", name if value is True else f"{name}={value}"]
    return words


def variables() -> dict[str, str]:
    """Return a copy of os.environ, also while another thread changes it."""
    while True:
        try:
            return dict(os.environ)
        except (KeyError, RuntimeError):  # a variable was removed or added meanwhile
            continue


def environment(given: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables that a child needs, beside `given` (default: os.environ), to find package and modules."""
    given = os.environ if given is None else given
    path = [_absolute(entry) for entry in sys.path]
    told = {PATH_VARIABLE: os.pathsep.join(path)}
    mine = given.get("PYTHONPATH", "")
    if _HOME in path[: first_of_library(path)] and _HOME not in mine.split(os.pathsep):
        told["PYTHONPATH"] = os.pathsep.join([_HOME, mine] if mine else [_HOME])  # the package is not installed
    return told


def _absolute(entry: str) -> str:
    try:
        return os.path.abspath(entry)  # the empty string means the current folder
    except FileNotFoundError:  # the current folder was removed, so nothing is found in it
        return os.path.join(os.devnull, entry)


def adopt() -> None:
    """Take over the parent's path, if the environment has one. Entries that only this process has stay in front."""
    told = os.environ.get(PATH_VARIABLE)
    if told:
        path = told.split(os.pathsep)
        sys.path[:] = [entry for entry in sys.path if entry not in path] + path  # PYTHONPATH may be the pool's


def first_of_library(path: list[str]) -> int:
    """The index in a path at which the standard library begins; an entry before it can replace any module."""
    library = os.path.dirname(os.__file__)
    return path.index(library) if library in path else len(path)

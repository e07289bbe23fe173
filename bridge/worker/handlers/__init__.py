"""The commands of the shipped worker, by name.

A handler gets the worker's context and the request's arguments, and returns any JSON value or raises. A handler that
returns an iterator of JSON values streams: each value is sent at once to a client that asked for parts.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from poolproof.bridge.dspy import programs
from poolproof.bridge.suggestion import did_you_mean
from poolproof.bridge.worker.handlers import callables, exercise, keyvalue, service, streams
from poolproof.bridge.worker.handlers.context import Context, HandlerError

Handler = Callable[[Context, dict[str, Any]], Any]
COMMANDS_VARIABLE = "POOLPROOF_COMMANDS"
"""The variable of a worker's environment that names modules with more commands, separated by commas. Each module has
them in a dictionary `COMMANDS`."""

COMMANDS: dict[str, Handler] = {
    **service.COMMANDS,
    **callables.COMMANDS,
    **exercise.COMMANDS,
    **keyvalue.COMMANDS,
    **programs.COMMANDS,
    **streams.COMMANDS,
}


_added: dict[str, Handler] = {}


def add_commands(modules: str) -> None:
    """Import these modules and serve their commands too. Raises HandlerError if that fails."""
    for module in modules.split(","):
        _add_commands(module.strip())


def _add_commands(module: str) -> None:
    try:
        found = importlib.import_module(module).COMMANDS
    except Exception as error:
        raise HandlerError(f"{COMMANDS_VARIABLE} {module!r}: {type(error).__name__}: {error}") from error
    if not isinstance(found, dict) or not all(isinstance(name, str) and callable(found[name]) for name in found):
        raise HandlerError(f"{COMMANDS_VARIABLE} {module!r}: its COMMANDS is no dictionary of functions by name")
    if taken := sorted(found.keys() & COMMANDS.keys()):
        raise HandlerError(f"{COMMANDS_VARIABLE} {module!r}: the worker has these commands already: {', '.join(taken)}")
    _added.update(found)


def find_handler(command: str) -> Handler:
    """Return the handler of `command`. Raises HandlerError with the command and the nearest known one."""
    handler = COMMANDS.get(command) or _added.get(command)
    if handler is None:
        raise HandlerError(f"unknown command {command!r}{did_you_mean(command, [*COMMANDS, *_added])}")
    return handler


__all__ = ["COMMANDS", "COMMANDS_VARIABLE", "Context", "Handler", "HandlerError", "add_commands", "find_handler"]

"""The commands of the shipped worker, by name.

A handler gets the worker's context and the request's arguments, and returns any JSON value or raises. A handler that
returns an iterator of JSON values streams: each value is sent at once to a client that asked for parts.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

from poolproof.bridge.dspy import programs
from poolproof.bridge.worker.handlers import callables, exercise, injury, keyvalue, service, streams
from poolproof.bridge.worker.handlers.context import Context, HandlerError

Handler = Callable[[Context, dict[str, Any]], Any]

COMMANDS: dict[str, Handler] = {
    **service.COMMANDS,
    **callables.COMMANDS,
    **exercise.COMMANDS,
    **injury.COMMANDS,
    **keyvalue.COMMANDS,
    **programs.COMMANDS,
    **streams.COMMANDS,
}


def find_handler(command: str) -> Handler:
    """Return the handler of `command`. Raises HandlerError with the command and the nearest known one."""
    handler = COMMANDS.get(command)
    if handler is None:
        near = difflib.get_close_matches(command, COMMANDS, n=1)
        raise HandlerError(f"unknown command {command!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    return handler


__all__ = ["COMMANDS", "Context", "Handler", "HandlerError", "find_handler"]

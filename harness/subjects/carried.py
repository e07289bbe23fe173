"""The function that the executor face runs in a worker: it runs a command of the shipped worker, and can be pickled.

The function writes a journal of the command, since the worker's own journal would only show pickled calls. This file
imports nothing of the harness, because every worker imports it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from typing import Any

from poolproof.bridge.worker.handlers import find_handler
from poolproof.bridge.worker.handlers.context import Context
from poolproof.bridge.worker.journal import Journal

CARRIED_VARIABLE = "POOLPROOF_CARRIED_JOURNAL_DIR"
"""The environment variable of a worker that names the folder of this file's journal."""
COMMANDS = frozenset({"echo", "ping", "sleep", "cpu", "blob", "binary", "pid", "fail", "parts", "exit"})
"""The commands that need nothing of the worker but its process."""


@cache
def _memory(pid: int) -> tuple[Context, Journal]:
    return Context(0, "stand_in", _refuse), Journal(0, os.environ.get(CARRIED_VARIABLE))


def _refuse(data: bytes) -> None:
    raise RuntimeError("a command in an executor has no response pipe of its own")


def carry_out(request_id: int, command: str, args: dict[str, Any]) -> Any:  # noqa: ANN401 - any JSON value
    """Run the command and return its result. Raises HandlerError if the command's handler raises it."""
    context, journal = _memory(os.getpid())
    entry = journal.begin(request_id, command, args.get("nonce"))
    ok = False
    try:
        result = find_handler(command)(context, args)
        if isinstance(result, Iterator):
            result = list(result)
        ok = True
        return result
    finally:
        journal.end(entry, ok=ok)

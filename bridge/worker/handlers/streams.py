"""Commands whose responses come in parts."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

from poolproof.bridge.worker.handlers.context import Context, HandlerError, number

MOST_PARTS = 1_000_000
LARGEST_BYTES = 2**26
LONGEST_S = 3600.0


def parts(_: Context, args: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield `count` parts of `bytes` characters, each after `pause_s` seconds; part number `fail_at` fails instead.

    With `exit_at`, the worker exits instead of sending that part.
    """
    count = int(number(args, "count", most=MOST_PARTS))
    padding = "x" * int(number(args, "bytes", most=LARGEST_BYTES, default=0))
    pause_s = number(args, "pause_s", most=LONGEST_S, default=0)
    return _make(count, padding, pause_s, args.get("fail_at"), args.get("exit_at"))


def _make(count: int, padding: str, pause_s: float, fail_at: object, exit_at: object) -> Iterator[dict[str, Any]]:
    for index in range(count):
        if index == fail_at:
            raise HandlerError(f"part {index} failed as asked")
        if index == exit_at:
            os._exit(1)
        if pause_s:
            time.sleep(pause_s)
        yield {"index": index, "made_ns": time.monotonic_ns(), "padding": padding}


COMMANDS = {"parts": parts}

"""Commands that put load on a pool: echo, sleep, cpu, blob, binary, pid, fail.

Their responses carry the request's nonce, except echo, which adds nothing.
"""

from __future__ import annotations

import os
import time
import zlib
from typing import Any

from poolproof.bridge.worker.handlers.context import Context, HandlerError, number, with_nonce

LONGEST_S = 3600.0
LARGEST_BYTES = 2**30
PERIOD = 251


def echo(_: Context, args: dict[str, Any]) -> Any:  # noqa: ANN401
    """Return the argument `value` unchanged; without it, all arguments."""
    return args.get("value", args)


def sleep(_: Context, args: dict[str, Any]) -> Any:  # noqa: ANN401
    """Wait `seconds`, like a wait for a model's response."""
    seconds = number(args, "seconds", most=LONGEST_S)
    time.sleep(seconds)
    return with_nonce(args, slept_s=seconds)


def cpu(_: Context, args: dict[str, Any]) -> Any:  # noqa: ANN401
    """Compute until `seconds` of processor time are used."""
    seconds = number(args, "seconds", most=LONGEST_S)
    end_s = time.process_time() + seconds
    iterations = 0
    while time.process_time() < end_s:
        iterations += 1
    return with_nonce(args, iterations=iterations)


def blob(_: Context, args: dict[str, Any]) -> Any:  # noqa: ANN401
    """Return a string of `bytes` characters."""
    return with_nonce(args, blob="x" * int(number(args, "bytes", most=LARGEST_BYTES)))


def binary(_: Context, args: dict[str, Any]) -> Any:  # noqa: ANN401
    """Return `bytes` bytes, of which number i is (7 i + `seed`) modulo 251, and the CRC-32 of the bytes in `upload`."""
    size = int(number(args, "bytes", most=LARGEST_BYTES))
    seed = int(number(args, "seed", most=PERIOD, default=0))
    upload = args.get("upload", b"")
    if not isinstance(upload, bytes):
        raise HandlerError(f"argument 'upload': bytes are needed, not {upload!r:.50}")
    first = (seed * pow(7, -1, PERIOD)) % PERIOD  # where the row of 0, 7, 14 ... has the seed
    row = bytes(number * 7 % PERIOD for number in range(PERIOD)) * (size // PERIOD + 2)
    return with_nonce(args, data=row[first : first + size], crc=zlib.crc32(upload))


def pid(context: Context, args: dict[str, Any]) -> Any:  # noqa: ANN401
    """Return this worker's id and process id."""
    return with_nonce(args, pid=os.getpid(), worker_id=context.worker_id)


def fail(_: Context, args: dict[str, Any]) -> Any:  # noqa: ANN401
    """Fail with the error `message`."""
    raise HandlerError(str(args.get("message", "failed as asked")))


COMMANDS = {"echo": echo, "sleep": sleep, "cpu": cpu, "blob": blob, "binary": binary, "pid": pid, "fail": fail}

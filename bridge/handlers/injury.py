"""Commands with which a worker hurts itself: exits, prints, writes what is no frame, leaves a child behind.

They exist so that a harness can see what a pool makes of such a worker.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from bridge.framing import encode_frame
from bridge.handlers.context import Context, HandlerError, number, with_nonce

MOST_PRINTED_BYTES = 2**28
LONGEST_CHILD_S = 3600.0
BROKEN: dict[str, bytes] = {
    "garbage": b"this is no frame at all",
    "oversize": b"\xff\xff\xff\xff",
    "not_json": encode_frame(b"\xff{"),
    "wrong_id": encode_frame(b'{"id": 987654321, "success": true, "result": "stale"}'),
    "truncated": b"\x00\x00\x10\x00{",
}


def leave(_: Context, args: dict[str, Any]) -> Any:  # noqa: ANN401
    """Exit in the middle of the call with status `code`; there is no answer."""
    sys.stderr.write("leaving in the middle of a call, as asked\n")
    sys.stderr.flush()
    os._exit(int(number(args, "code", most=255, default=1)))


def write(_: Context, args: dict[str, Any]) -> Any:  # noqa: ANN401
    """Print `bytes` characters to `stream`: stdout, stderr, or raw to descriptor 1."""
    size = int(number(args, "bytes", most=MOST_PRINTED_BYTES))
    stream = args.get("stream", "stdout")
    if stream == "raw":
        data = memoryview(b"r" * size)
        while data:
            data = data[os.write(1, data) :]
    elif stream in ("stdout", "stderr"):
        target = sys.stdout if stream == "stdout" else sys.stderr
        target.write("p" * size)
        target.flush()
    else:
        raise HandlerError(f"argument 'stream': stdout, stderr or raw, not {stream!r}")
    return with_nonce(args, printed_bytes=size)


def bad_frame(context: Context, args: dict[str, Any]) -> Any:  # noqa: ANN401
    """Write bytes of the given `kind` where the answer should be."""
    kind = args.get("kind", "garbage")
    if not isinstance(kind, str) or kind not in BROKEN:
        raise HandlerError(f"argument 'kind': one of {', '.join(BROKEN)}, not {kind!r}")
    context.write_raw(BROKEN[kind])
    if kind == "truncated":
        os._exit(1)
    return with_nonce(args, kind=kind)


def not_json(_: Context, args: dict[str, Any]) -> Any:  # noqa: ANN401
    """A result that is no JSON value."""
    return with_nonce(args, value=object())


def spawn_child(_: Context, args: dict[str, Any]) -> Any:  # noqa: ANN401
    """Start a child that lives for `seconds`, and leave it behind."""
    seconds = number(args, "seconds", most=LONGEST_CHILD_S)
    child = subprocess.Popen(["sleep", str(seconds)], close_fds=False)
    return with_nonce(args, pid=child.pid)


COMMANDS = {"exit": leave, "print": write, "bad_frame": bad_frame, "not_json": not_json, "spawn_child": spawn_child}

"""Commands that make a worker misbehave: exit, print, break its frames, leave a child, exhaust resources.

The shipped worker has these commands only if its environment names this module (`fault_environment`). The harness sets
that variable for the pools under test; a worker in production does not have it.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
import time
from typing import Any

from poolproof.bridge.wire.framing import HEADER_BYTES, encode_frame
from poolproof.bridge.wire.messages import encode_success
from poolproof.bridge.worker.handlers import COMMANDS_VARIABLE
from poolproof.bridge.worker.handlers.context import Context, HandlerError, number, with_nonce
from poolproof.harness.faults.pieces import begin as begin_pieces

MOST_PRINTED_BYTES = 2**28
LONGEST_CHILD_S = 3600.0
LARGEST_HOG_BYTES = 2**30
FEW_DESCRIPTORS = 256
BROKEN: dict[str, bytes] = {
    "garbage": b"this is no frame at all",
    "oversize": b"\xff\xff\xff\xff",
    "not_json": encode_frame(b"\xff{"),
    "wrong_id": encode_frame(b'{"id": 987654321, "success": true, "result": "stale"}'),
    "truncated": b"\x00\x00\x10\x00{",
}


def fault_environment() -> dict[str, str]:
    """Return what a worker's environment needs so that the worker has these commands, beside those of the user."""
    named = [name for name in os.environ.get(COMMANDS_VARIABLE, "").split(",") if name not in ("", __name__)]
    return {COMMANDS_VARIABLE: ",".join([*named, __name__])}


def leave(_: Context, args: dict[str, Any]) -> Any:  # noqa: ANN401
    """Exit in the middle of the call with status `code`, without a response."""
    sys.stderr.write(f"leaving in the middle of a call, as asked; nonce {args.get('nonce')}\n")
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
    """Write bytes of the given `kind` instead of the response."""
    kind = args.get("kind", "garbage")
    if not isinstance(kind, str) or kind not in BROKEN:
        raise HandlerError(f"argument 'kind': must be one of {', '.join(BROKEN)}, not {kind!r}")
    context.write_raw(BROKEN[kind])
    if kind == "truncated":
        os._exit(1)
    return with_nonce(args, kind=kind)


def not_json(_: Context, args: dict[str, Any]) -> Any:  # noqa: ANN401
    """Return a result that is no JSON value."""
    return with_nonce(args, value=object())


def odd_answer(context: Context, args: dict[str, Any]) -> Any:  # noqa: ANN401
    """Respond incorrectly and exit: `kind` is half (then `seconds` of silence), double (twice) or stale.

    A stale response has the id of another request and its own nonce; no correct response follows.
    """
    kind = args.get("kind")
    if kind not in ("half", "double", "stale"):
        raise HandlerError(f"argument 'kind': half, double or stale, not {kind!r}")
    silence_s = number(args, "seconds", most=LONGEST_CHILD_S, default=0)
    if kind == "stale":
        context.write_raw(encode_frame(encode_success(context.request_id + 1, {"kind": kind, "nonce": "another's"})))
        os._exit(0)
    frame = encode_frame(encode_success(context.request_id, with_nonce(args, kind=kind)))
    if kind == "double":
        context.write_raw(frame + frame)  # in one write, so that the reader of the first frame also gets the second
        os._exit(0)
    middle = HEADER_BYTES + (len(frame) - HEADER_BYTES) // 2
    context.write_raw(frame[:middle])
    time.sleep(silence_s)
    os._exit(0)


def spawn_child(_: Context, args: dict[str, Any]) -> Any:  # noqa: ANN401
    """Start a child that lives for `seconds`, and leave it behind; with `pipes` it keeps this worker's pipes open."""
    seconds = number(args, "seconds", most=LONGEST_CHILD_S)
    if args.get("pipes"):
        pid = os.fork()
        if pid == 0:
            time.sleep(seconds)
            os._exit(0)
        return with_nonce(args, pid=pid)
    import subprocess  # slow to import, and this module is imported at the start of every worker under test

    child = subprocess.Popen(["sleep", str(seconds)], close_fds=False)
    return with_nonce(args, pid=child.pid)


def hog(_: Context, args: dict[str, Any]) -> Any:  # noqa: ANN401
    """Use memory up to a limit: this process may use `bytes` more than now. Ends in a MemoryError."""
    most = int(number(args, "bytes", most=LARGEST_HOG_BYTES))
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as statm:
        now_bytes = int(statm.read().split()[0]) * resource.getpagesize()
    held: list[bytes] = []
    resource.setrlimit(resource.RLIMIT_AS, (now_bytes + most, hard))
    try:
        # Mapped memory may be free, so only the whole mapped size plus the limit is certain to be too much.
        held.extend(b"h" * 2**20 for _number in range((now_bytes + most) // 2**20 + 1))
        return with_nonce(args, held_bytes=len(held) * 2**20)  # the limit has no effect here
    finally:
        held.clear()
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def exhaust_descriptors(_: Context, args: dict[str, Any]) -> Any:  # noqa: ANN401
    """Open descriptors until none is left, hold them for `seconds`, close them."""
    seconds = number(args, "seconds", most=LONGEST_CHILD_S)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, FEW_DESCRIPTORS), hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        time.sleep(seconds)
    finally:
        for fd in held:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return with_nonce(args, opened=len(held))


COMMANDS = {
    "exit": leave,
    "print": write,
    "bad_frame": bad_frame,
    "not_json": not_json,
    "odd_answer": odd_answer,
    "spawn_child": spawn_child,
    "hog": hog,
    "exhaust_descriptors": exhaust_descriptors,
}

begin_pieces()

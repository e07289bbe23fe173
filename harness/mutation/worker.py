"""A worker with a planted bug: `python -m poolproof.harness.mutation.worker BUG --worker-id N`.

Knows nothing of pools. Plants the bug, then runs the shipped worker.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable

from poolproof.bridge.config import module_command
from poolproof.bridge.processes.interpreter import adopt
from poolproof.bridge.worker import program as worker
from poolproof.bridge.worker.handlers import Context
from poolproof.bridge.worker.journal import Journal
from poolproof.bridge.worker.program import Wire


def merge_stderr() -> None:
    """A worker's printed output goes into its stream of frames."""
    take = Wire.take

    def merged(*, limit_bytes: int) -> Wire:
        wire = take(limit_bytes=limit_bytes)
        os.dup2(wire._write_fd, 1)
        os.dup2(wire._write_fd, 2)
        return wire

    Wire.take = merged  # type: ignore[method-assign]


def obey_sigint() -> None:
    """Ctrl-C in the terminal reaches the worker too."""
    serve = worker.serve

    def serve_interruptible(wire: Wire, context: Context, journal: Journal) -> int:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        return serve(wire, context, journal)

    worker.serve = serve_interruptible


def ignore_end() -> None:
    """The end of its standard input does not end the worker."""
    Wire.watch = lambda self: None  # type: ignore[method-assign]
    read = Wire.read

    def read_on(self: Wire) -> bytes | bytearray | None:
        payload = read(self)
        if payload is None:
            threading.Event().wait(60.0)
        return payload

    Wire.read = read_on  # type: ignore[method-assign]


BUGS: dict[str, Callable[[], None]] = {
    "merge_stderr": merge_stderr,
    "obey_sigint": obey_sigint,
    "ignore_end": ignore_end,
}


def command(bug: str) -> tuple[str, ...]:
    """The command that starts a worker with this bug."""
    return module_command("poolproof.harness.mutation.worker", bug, "--worker-id", "{worker_id}")


if __name__ == "__main__":
    adopt()
    BUGS[sys.argv[1]]()
    sys.exit(worker.main(sys.argv[2:]))

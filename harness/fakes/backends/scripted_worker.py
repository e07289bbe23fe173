"""The worker of the wire backend: checks every frame by the exact rules; answers from a script or its handlers.

After a frame that violates the rules the worker exits with status 5 and the reason on stderr; the pool reports a crash.
Usage: `python -m poolproof.harness.fakes.backends.scripted_worker --worker-id N [--script FILE]`
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from poolproof.bridge.config import module_command
from poolproof.bridge.errors import ProtocolError
from poolproof.bridge.processes.interpreter import adopt
from poolproof.bridge.wire.framing import FRAME_LIMIT_VARIABLE
from poolproof.bridge.wire.messages import INIT_ID, Request, encode_failure, encode_success
from poolproof.bridge.worker.handlers import Context, HandlerError, find_handler
from poolproof.bridge.worker.journal import JOURNAL_VARIABLE, Journal
from poolproof.bridge.worker.program import DEFAULT_FRAME_LIMIT_BYTES, Wire
from poolproof.harness.fakes.backends.frames import FrameCheck, FrameFault
from poolproof.harness.fakes.backends.script import Script, read_script

MODULE = "poolproof.harness.fakes.backends.scripted_worker"
FAULT_STATUS = 5


def command(script: Path | None = None) -> tuple[str, ...]:
    """Return the worker command of a pool with scripted workers."""
    words = module_command(MODULE, "--worker-id", "{worker_id}")
    return words if script is None else (*words, "--script", str(script))


def serve(wire: Wire, context: Context, script: Script, journal: Journal) -> int:
    """Answer requests until the input ends; return the exit status."""
    check = FrameCheck()
    while not context.leaving:
        try:
            payload = wire.read()
            if payload is None:
                return 0
            request = check.check(bytes(payload))
        except (FrameFault, ProtocolError) as error:
            sys.stderr.write(f"scripted worker {context.worker_id}: {error}\n")
            return FAULT_STATUS
        entry = None
        if request.id != INIT_ID:
            entry = journal.begin(request.id, request.command, request.args.get("nonce"))
        context.command_count += 1
        context.request_id = request.id
        try:
            response, ok = encode_success(request.id, _answer(context, script, request)), True
        except HandlerError as error:
            response, ok = encode_failure(request.id, str(error)), False
        except Exception as error:
            response, ok = encode_failure(request.id, f"{type(error).__name__}: {error}"), False
        context.error_count += not ok
        journal.end(entry, ok=ok)
        wire.write(response)
    return 0


def _answer(context: Context, script: Script, request: Request) -> object:
    line = script.find(request.command, request.args)
    if line is None:
        return find_handler(request.command)(context, request.args)
    if line.error:
        raise HandlerError(line.error)
    return line.answer


def main(argv: Sequence[str] | None = None) -> int:
    """Run a scripted worker on descriptors 0, 1 and 2; return the exit status."""
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}", description="A worker that checks every frame.")
    parser.add_argument("--worker-id", type=int, default=0)
    parser.add_argument("--script", type=Path)
    options = parser.parse_args(argv)
    script = Script() if options.script is None else read_script(options.script.read_bytes(), str(options.script))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    wire = Wire.take(limit_bytes=int(os.environ.get(FRAME_LIMIT_VARIABLE, DEFAULT_FRAME_LIMIT_BYTES)))
    wire.watch()
    context = Context(options.worker_id, "scripted", wire.write_raw)
    try:
        return serve(wire, context, script, Journal(options.worker_id, os.environ.get(JOURNAL_VARIABLE)))
    except BrokenPipeError:
        return 0


if __name__ == "__main__":
    adopt()
    sys.exit(main())

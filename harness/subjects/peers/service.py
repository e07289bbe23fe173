"""The code in a peer's worker process: the shipped worker's handlers and journal, without its wire.

This file imports little, because every worker of a peer imports it. Requests and responses are payloads of the wire.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from multiprocessing.connection import wait

from poolproof.bridge.wire.messages import Request, decode_request, encode_failure, encode_success
from poolproof.bridge.worker.handlers import COMMANDS, Context, HandlerError, add_commands, find_handler
from poolproof.bridge.worker.journal import JOURNAL_VARIABLE, Journal
from poolproof.harness.faults import commands
from poolproof.harness.faults.commands import COMMANDS as FAULT_COMMANDS

OF_THE_WIRE = frozenset({"bad_frame", "shutdown"})
KNOWN = (frozenset(COMMANDS) | frozenset(FAULT_COMMANDS)) - OF_THE_WIRE
"""The commands of a peer's worker: a peer has no frames that `bad_frame` could break, and ends its own workers."""


class Service:
    """One worker's memory and journal."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.context = Context(os.getpid(), "peer", _refuse)
        self.journal = Journal(os.getpid(), os.environ.get(JOURNAL_VARIABLE))


_services: list[Service] = []


def begin(env: dict[str, str], log_dir: str | None, limit_bytes: int) -> None:
    """Prepare this process to serve: set the environment and the log file, and exit when the parent process exits."""
    os.environ.update(env)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    name = os.devnull if log_dir is None else os.path.join(log_dir, f"{os.getpid()}.log")
    log = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    add_commands(commands.__name__)
    _services[:] = [Service(limit_bytes)]
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_leave_with, args=(parent.sentinel,), name="parent-watch", daemon=True).start()


def serve(payload: bytes) -> bytes | bytearray:
    """Answer one request, as poolproof.bridge.worker.program does."""
    [service] = _services
    request = decode_request(payload)
    entry = service.journal.begin(request.id, request.command, request.args.get("nonce"))
    service.context.command_count += 1
    response, ok = _answer(service, request)
    service.context.error_count += not ok
    service.journal.end(entry, ok=ok)
    if len(response) > service.limit_bytes:
        told = f"the response is too large: {len(response)} bytes; the limit is {service.limit_bytes}"
        return encode_failure(request.id, told)
    return response


def who(pause_s: float) -> int:
    """Return this process's pid after `pause_s` seconds, so that other processes can take the next calls."""
    time.sleep(pause_s)
    return os.getpid()


def _answer(service: Service, request: Request) -> tuple[bytes | bytearray, bool]:
    try:
        if request.command in OF_THE_WIRE:
            raise HandlerError(f"unknown command {request.command!r}")
        result = find_handler(request.command)(service.context, request.args)
        return encode_success(request.id, result), True
    except HandlerError as error:
        return encode_failure(request.id, str(error)), False
    except Exception as error:
        return encode_failure(request.id, f"{type(error).__name__}: {error}"), False


def _leave_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(0)


def _refuse(data: bytes) -> None:
    raise HandlerError(f"there is no stream for {len(data)} raw bytes")

"""Records a run as it happens: every operation, event and fault is one line of the run's history file.

Knows nothing of verdicts. Lines are handed to a thread that writes them within 20 ms, so that recording costs a
client an append, and whatever ends the process (SIGKILL included) loses at most those last milliseconds.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from pathlib import Path
from typing import Any

import msgspec

from bridge import Event, EventKind, PoolError, Statistics
from bridge.clock import now_ns
from harness.fault import FaultRecord
from harness.history import Leftovers, Op, OpType
from harness.lines import EventLine, FaultLine, LeftoversLine, Line, MarkLine, OpLine, StatisticsLine
from harness.workload import Step

WRITE_EVERY_S = 0.02


class Running:
    """An operation under way; the pool's events fill in its times."""

    __slots__ = ("begun", "call", "checked_out_ns", "pid", "received_ns", "sent_ns", "worker")

    def __init__(self, begun: Op) -> None:
        self.begun = begun
        self.call: int | None = None
        self.worker: int | None = None
        self.pid: int | None = None
        self.checked_out_ns: int | None = None
        self.sent_ns: int | None = None
        self.received_ns: int | None = None


class Moment:
    """The first time that a labelled step was sent or done, which faults and other steps wait for."""

    __slots__ = ("passed", "running")

    def __init__(self) -> None:
        self.passed = threading.Event()
        self.running: Running | None = None

    def pass_(self, running: Running) -> None:
        """It is now; later times do not count."""
        if self.running is None:
            self.running = running
            self.passed.set()


class Recorder:
    """Appends to the history of one run. Thread-safe.

    Invariant: a line is in the file in the order of its append, and `close` returns with all of them written.
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._lines: deque[Line] = deque()
        self._stop = threading.Event()
        self._here = threading.local()
        self._by_call: dict[int, Running] = {}
        self._moments: dict[str, Moment] = {}
        self._encoder = msgspec.json.Encoder(enc_hook=repr)
        self._thread = threading.Thread(target=self._write_along, name="recorder", daemon=True)
        self._thread.start()

    def moment(self, name: str) -> Moment:
        """The moment "LABEL:sent" or "LABEL:done". Ask for all of them before the first operation."""
        return self._moments.setdefault(name, Moment())

    def invoke(self, step: Step, op: Op) -> Running:
        """An operation begins in this thread."""
        running = Running(op)
        self._here.running = running
        self._lines.append(OpLine(op))
        return running

    def complete(self, running: Running, step: Step, *, value: Any, error: BaseException | None) -> Op:  # noqa: ANN401
        """The operation is over; how, and what may have happened."""
        kind, outcome, sent = _judge(error)
        op = msgspec.structs.replace(
            running.begun,
            checked_out_ns=running.checked_out_ns,
            sent_ns=running.sent_ns,
            received_ns=running.received_ns,
            completed_ns=now_ns(),
            type=kind,
            outcome=outcome,
            sent=sent,
            value=value,
            error="" if error is None else str(error),
            call=running.call,
            worker=running.worker,
            pid=running.pid,
        )
        self._here.running = None
        self._lines.append(OpLine(op))
        if step.fault is not None:
            self.fault(
                FaultRecord(
                    kind=step.fault,
                    at_ns=running.sent_ns or op.invoked_ns,
                    landed=running.sent_ns is not None or sent == "yes",
                    worker=running.worker,
                    pid=running.pid,
                    detail=step.command,
                )
            )
        self._reach(step.label, "done", running)
        return op

    def observe(self, event: Event) -> None:
        """The pool's observer."""
        self._lines.append(EventLine(event))
        if event.kind is EventKind.ENQUEUE:
            running = getattr(self._here, "running", None)
            if running is not None and event.call is not None:
                running.call = event.call
                self._by_call[event.call] = running
            return
        known = None if event.call is None else self._by_call.get(event.call)
        if known is None:
            return
        match event.kind:
            case EventKind.ACCEPT:
                known.checked_out_ns, known.worker = event.at_ns, event.worker
            case EventKind.SEND:
                known.sent_ns, known.worker, known.pid = event.at_ns, event.worker, event.pid
                self._reach(known.begun.label, "sent", known)
            case EventKind.RECEIVE:
                known.received_ns = event.at_ns
            case EventKind.DONE if event.call is not None:
                del self._by_call[event.call]
            case _:
                pass

    def fault(self, record: FaultRecord) -> None:
        """A fault was tried."""
        self._lines.append(FaultLine(record))

    def mark(self, name: str, text: str = "") -> None:
        """A moment of the run itself, now."""
        self._lines.append(MarkLine(name, now_ns(), text))

    def leftovers(self, leftovers: Leftovers) -> None:
        """What was left after close."""
        self._lines.append(LeftoversLine(leftovers))

    def statistics(self, statistics: Statistics) -> None:
        """What the pool itself counted."""
        self._lines.append(StatisticsLine(statistics))

    def close(self) -> None:
        """Write what is left and close the file. Idempotent."""
        if not self._stop.is_set():
            self._stop.set()
            self._thread.join()
            os.close(self._fd)

    def _reach(self, label: str, state: str, running: Running) -> None:
        if label:
            moment = self._moments.get(f"{label}:{state}")
            if moment is not None:
                moment.pass_(running)

    def _write_along(self) -> None:
        while not self._stop.wait(WRITE_EVERY_S):
            self._write()
        self._write()

    def _write(self) -> None:
        data = bytearray()
        while self._lines:
            data += self._encode(self._lines.popleft()) + b"\n"
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]

    def _encode(self, line: Line) -> bytes:
        try:
            return self._encoder.encode(line)
        except Exception as error:
            lost = error
        if isinstance(line, OpLine):
            try:  # what JSON has no form for, such as a lone surrogate, is told as text
                return self._encoder.encode(OpLine(_as_text(line.op)))
            except Exception as error:
                lost = error
        what = f"a {type(line).__name__} could not be written: {type(lost).__name__}"
        return self._encoder.encode(MarkLine("trouble", now_ns(), what))


def _as_text(op: Op) -> Op:
    told = {"not_json": ascii(op.args)}
    return msgspec.structs.replace(op, args=told, value=ascii(op.value), error=ascii(op.error))


def _judge(error: BaseException | None) -> tuple[OpType, str, str]:
    if error is None:
        return OpType.OK, "result", "yes"
    if not isinstance(error, PoolError):
        return OpType.INFO, f"foreign {type(error).__name__}", "maybe"
    outcome = type(error).__name__
    if outcome == "CommandError":
        return OpType.FAIL, outcome, "yes"  # the worker has answered: nothing is in doubt
    return (OpType.FAIL if error.sent == "no" else OpType.INFO), outcome, str(error.sent)

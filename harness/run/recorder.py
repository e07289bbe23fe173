"""Records a run as it happens: every operation, event and fault is one line of the run's history file.

Knows nothing of verdicts. Lines are handed to a thread that writes them within 20 ms, so that recording costs a
client an append, and whatever ends the process (SIGKILL included) loses at most those last milliseconds.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

import msgspec

from poolproof.bridge import Event, EventKind, PoolError, SessionStatus, Statistics
from poolproof.bridge.clock import now_ns
from poolproof.bridge.redaction import SECRET_FIELDS, hide_in, redact, secrets_in
from poolproof.harness.history.codec import (
    End,
    EndLine,
    EventLine,
    FaultLine,
    LeftoversLine,
    Line,
    MarkLine,
    OpLine,
    SampleLine,
    SessionsLine,
    StatisticsLine,
)
from poolproof.harness.history.history import Leftovers, Op, OpType
from poolproof.harness.model.fault import FaultRecord
from poolproof.harness.model.workload import Step
from poolproof.harness.run.resource_snapshot import take_sample
from poolproof.harness.run.worker_tracker import WorkerTracker

WRITE_EVERY_S = 0.02
SAMPLE_EVERY_S = 0.1
BATCH = 32
"""So many lines are encoded at once; a client that needs the interpreter waits for no more than these."""
WRITE_BYTES = 1 << 20
NAMES_A_SECRET = re.compile(rb'"(?:' + "|".join(sorted(SECRET_FIELDS)).encode() + rb')":', re.IGNORECASE)


class Running(msgspec.Struct):
    """An operation under way, and then its end.

    `worker`, `pid` and `received_ns` are filled in where somebody waits for its moment: who got it, and when that
    worker had done it. What the pool's events tell of its times is joined when the history is read.
    """

    begun: Op
    worker: int | None = None
    pid: int | None = None
    received_ns: int | None = None
    completed_ns: int | None = None
    type: OpType = OpType.OK
    outcome: str = "result"
    sent: str = "yes"
    value: Any = None
    error: str = ""

    def end(self) -> End:
        """How it ended, and what may have happened."""
        return End(
            index=self.begun.index,
            completed_ns=self.completed_ns,
            type=self.type,
            outcome=self.outcome,
            sent=self.sent,
            value=self.value,
            error=self.error,
        )


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
    """Appends to the history of one run. Thread-safe. `roll` knows whether the workers keep journals.

    Invariant: a line is in the file in the order of its append, and `close` returns with all of them written.
    """

    def __init__(self, path: Path, roll: WorkerTracker | None = None) -> None:
        self._roll = roll or WorkerTracker()
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._lines: deque[Line | Op | Running | Event] = deque()
        self._append = self._lines.append
        self._stop = threading.Event()
        self._here = threading.local()
        self._awaited: dict[str | int, Running] = {}
        self._by_call: dict[int, Running] = {}
        self._moments: dict[str, Moment] = {}
        self._encoder = msgspec.json.Encoder(enc_hook=repr)
        self._secrets: set[str] = set()
        self._secret_bytes: set[bytes] = set()
        self._thread = threading.Thread(target=self._write_along, name="recorder", daemon=True)
        self._thread.start()

    def moment(self, name: str) -> Moment:
        """The moment "LABEL:sent" or "LABEL:done". Ask for all of them before the first operation."""
        return self._moments.setdefault(name, Moment())

    def invoke(self, step: Step, op: Op) -> Running:
        """An operation begins in this thread."""
        running = Running(op)
        self._here.running = running
        if op.label and f"{op.label}:sent" in self._moments:
            self._awaited[op.nonce] = self._awaited[op.index] = running
        self._append(op)
        return running

    def detach(self) -> None:
        """This thread's next events belong to no single operation, as those of a batch."""
        self._here.running = None

    def complete(self, running: Running, step: Step, *, value: Any, error: BaseException | None) -> Running:  # noqa: ANN401
        """The operation is over. Its line is made by the thread that writes it, at no cost to the client."""
        running.completed_ns = now_ns()
        running.value = value
        if error is not None:
            running.type, running.outcome, running.sent = _judge(error)
            running.error = str(error)
        self._here.running = None
        self._append(running)
        if step.fault is not None:
            begun = running.begun
            self.fault(
                FaultRecord(
                    kind=step.fault,
                    at_ns=begun.invoked_ns,
                    landed=running.sent == "yes",
                    detail=step.command,
                    op=begun.index,
                )
            )
        if step.label:
            self._reach(step.label, "done", running)
        return running

    def observe(self, event: Event) -> None:
        """The pool's observer, in whatever thread and however late.

        Whose call it is says the correlation of its ENQUEUE. A pool that gives none is taken to tell of a call in the
        thread of its client.
        """
        if event.kind is EventKind.ENQUEUE and event.correlation is None:
            running = getattr(self._here, "running", None)
            if running is not None:
                event = msgspec.structs.replace(event, correlation=running.begun.index + 1)
        self._append(event)
        if self._awaited and not self.journalled and event.call is not None:
            self._await_events(event, event.call)

    def _await_events(self, event: Event, call: int) -> None:
        # Workers that keep no journal: the pool's word is all there is, and may come when the call is over.
        if event.kind is EventKind.ENQUEUE and event.correlation is not None:
            awaited = self._awaited.get(event.correlation - 1)
            if awaited is not None:
                self._by_call[call] = awaited
        known = self._by_call.get(call)
        if known is not None and event.kind is EventKind.SEND:
            known.worker, known.pid = event.worker, event.pid
            self._reach(known.begun.label, "sent", known)
        elif known is not None and event.kind is EventKind.RECEIVE:
            known.received_ns = event.at_ns

    @property
    def journalled(self) -> bool:
        """Whether the workers keep journals, so that moments come from these."""
        return self._roll.journalled

    def begun(self, nonce: str, *, pid: int, worker: int, at_ns: int) -> None:
        """By its journal a worker has begun the request with this nonce at `at_ns`."""
        running = self._awaited.get(nonce)
        if running is not None and running.pid is None:
            running.worker, running.pid = worker, pid
            self._reach(running.begun.label, "sent", running)

    def answered(self, nonce: str, at_ns: int) -> None:
        """By its journal a worker has ended the request with this nonce."""
        running = self._awaited.get(nonce)
        if running is not None:
            running.received_ns = at_ns

    def fault(self, record: FaultRecord) -> None:
        """A fault was tried."""
        self._append(FaultLine(record))

    def mark(self, name: str, text: str = "") -> None:
        """A moment of the run itself, now."""
        self._append(MarkLine(name, now_ns(), text))

    def leftovers(self, leftovers: Leftovers) -> None:
        """What was left after close."""
        self._append(LeftoversLine(leftovers))

    def statistics(self, statistics: Statistics) -> None:
        """What the pool itself counted."""
        self._append(StatisticsLine(statistics))

    def sessions(self, sessions: tuple[SessionStatus, ...]) -> None:
        """The pool's session table."""
        self._append(SessionsLine(sessions))

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
        sampled_s = time.monotonic()
        while not self._stop.wait(WRITE_EVERY_S):
            now_s = time.monotonic()
            if now_s - sampled_s >= SAMPLE_EVERY_S:
                sampled_s = now_s
                with contextlib.suppress(OSError):  # a fault may have taken the last descriptor
                    self._append(SampleLine(take_sample()))
            self._write()
        self._write()

    def _write(self) -> None:
        data = bytearray()
        while self._lines:
            batch: list[Line | Op | Running | Event] = []
            while self._lines and len(batch) < BATCH:
                batch.append(self._lines.popleft())
            data += self._encode(batch)
            if len(data) >= WRITE_BYTES:
                self._flush(data)
                data = bytearray()
        self._flush(data)

    def _flush(self, data: bytearray) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]

    def _encode(self, batch: list[Line | Op | Running | Event]) -> bytes:
        try:
            data = self._encoder.encode_lines([_line(item) for item in batch])
        except Exception:  # one of them is to blame; the others are written as they are
            data = b"".join(self._encode_one(item) + b"\n" for item in batch)
        if NAMES_A_SECRET.search(data) or any(secret in data for secret in self._secret_bytes):
            return b"".join(self._without_secrets(line) + b"\n" for line in data.splitlines())
        return data

    def _without_secrets(self, line: bytes) -> bytes:
        # A key is known from the call that brought it, and is taken out of whatever comes later too.
        value = msgspec.json.decode(line)
        self._secrets |= secrets_in(value)
        self._secret_bytes = {self._encoder.encode(secret)[1:-1] for secret in self._secrets}
        return self._encoder.encode(hide_in(redact(value), self._secrets))

    def _encode_one(self, item: Line | Op | Running | Event) -> bytes:
        try:
            return self._encoder.encode(_line(item))
        except Exception as error:
            lost = error
        try:  # what JSON has no form for, such as a lone surrogate, is told as text
            match item:
                case Op():
                    return self._encoder.encode(OpLine(_as_text(item)))
                case Running():
                    end = item.end()
                    text = msgspec.structs.replace(end, value=ascii(end.value), error=ascii(end.error))
                    return self._encoder.encode(EndLine(text))
        except Exception as error:
            lost = error
        what = f"a {type(_line(item)).__name__} could not be written: {type(lost).__name__}"
        return self._encoder.encode(MarkLine("trouble", now_ns(), what))


def _line(item: Line | Op | Running | Event) -> Line:
    match item:
        case Event():
            return EventLine(item)
        case Running():
            return EndLine(item.end())
        case Op():
            return OpLine(item)
        case _:
            return item


def _as_text(op: Op) -> Op:
    told = {"not_json": ascii(op.args)}
    return msgspec.structs.replace(op, args=told)


def _judge(error: BaseException) -> tuple[OpType, str, str]:
    if not isinstance(error, PoolError):
        return OpType.INFO, f"foreign {type(error).__name__}", "maybe"
    outcome = type(error).__name__
    if outcome == "CommandError":
        return OpType.FAIL, outcome, "yes"  # the worker has answered: nothing is in doubt
    return (OpType.FAIL if error.sent == "no" else OpType.INFO), outcome, str(error.sent)

"""Records a run as it happens: every operation, event and fault is one line of the run's history file.

Knows nothing of verdicts. A thread writes the lines within 20 ms, so that recording costs a client only an append, and
a sudden end of the process (SIGKILL included) loses at most the last 20 ms.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import traceback
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from poolproof.bridge import Event, EventKind, PoolError, SessionStatus, Statistics
from poolproof.bridge.clock import now_ns
from poolproof.bridge.redaction import (
    hide,
    hide_in,
    may_hold_a_secret,
    redact,
    redact_text,
    secrets_in,
    secrets_of,
)
from poolproof.harness.history.codec import (
    End,
    EndLine,
    EventLine,
    FaultLine,
    GrowthLine,
    LeftoversLine,
    Line,
    MarkLine,
    OpLine,
    SampleLine,
    SessionsLine,
    StatisticsLine,
    StatusLine,
)
from poolproof.harness.history.history import Growth, Leftovers, Op, OpType, StatusSample
from poolproof.harness.model.fault import FaultRecord
from poolproof.harness.model.workload import Step
from poolproof.harness.run.recording.resource_snapshot import take_sample
from poolproof.harness.run.recording.worker_tracker import WorkerTracker

WRITE_EVERY_S = 0.02
SAMPLE_EVERY_S = 0.1
BATCH = 32
"""How many lines are encoded at once. A client that waits for the interpreter (the GIL) waits for these at most."""
WRITE_BYTES = 1 << 20


class Running(msgspec.Struct):
    """An operation in progress; at its end, `end` returns how it ended.

    `worker`, `pid` and `received_ns` are set only if a fault or a step waits for a moment of this operation: which
    worker got the request, and when that worker answered. The times in the pool's events are joined when the history is
    read.
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
        """Return how the operation ended, and what may have happened."""
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
    """The first time that a labelled step was sent or done. Faults and other steps wait for it."""

    __slots__ = ("passed", "running")

    def __init__(self) -> None:
        self.passed = threading.Event()
        self.running: Running | None = None

    def pass_(self, running: Running) -> None:
        """Record that the moment is now; later calls have no effect."""
        if self.running is None:
            self.running = running
            self.passed.set()


class Recorder:
    """Appends to the history of one run. Thread-safe. `roll` knows whether the workers keep journals.

    No credential is written: neither one that a line names, nor one of this process's environment or of `env`.

    Invariant: the file has the lines in the order of their appends, and `close` returns after all lines are written.
    """

    def __init__(self, path: Path, roll: WorkerTracker | None = None, env: Mapping[str, str] | None = None) -> None:
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
        self._know(secrets_of(os.environ | (env or {})))
        self._thread = threading.Thread(target=self._write_along, name="recorder", daemon=True)
        self._thread.start()

    def moment(self, name: str) -> Moment:
        """Return the moment "LABEL:sent" or "LABEL:done". Get all moments before the first operation."""
        return self._moments.setdefault(name, Moment())

    def invoke(self, step: Step, op: Op) -> Running:
        """Record that an operation begins in this thread."""
        running = Running(op)
        self._here.running = running
        if op.label and f"{op.label}:sent" in self._moments:
            self._awaited[op.nonce] = self._awaited[op.index] = running
        self._append(op)
        return running

    def detach(self) -> None:
        """Record that this thread's next events, such as those of a batch, belong to no single operation."""
        self._here.running = None

    def complete(self, running: Running, step: Step, *, value: Any, error: BaseException | None) -> Running:  # noqa: ANN401
        """Record that the operation is over. The writing thread encodes its line, at no cost to the client."""
        running.completed_ns = now_ns()
        running.value = value
        if error is not None:
            running.type, running.outcome, running.sent = _judge(error)
            running.error = str(error) if isinstance(error, PoolError) else f"{error} ({_origin(error)})"
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
        """Record an event of the pool; the pool may call this in any thread and with any delay.

        The correlation of ENQUEUE shows to which operation a pool's call belongs. Without a correlation the call is
        taken to belong to the operation of the current thread.
        """
        if event.kind is EventKind.ENQUEUE and event.correlation is None:
            running = getattr(self._here, "running", None)
            if running is not None:
                event = msgspec.structs.replace(event, correlation=running.begun.index + 1)
        self._append(event)
        if self._awaited and not self.journalled and event.call is not None:
            self._await_events(event, event.call)

    def _await_events(self, event: Event, call: int) -> None:
        # Without journals the pool's events are the only source, and they may come after the call is over.
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
        """Whether the workers keep journals, so that moments come from the journals."""
        return self._roll.journalled

    def begun(self, nonce: str, *, pid: int, worker: int, at_ns: int) -> None:
        """Record that a worker began the request with this nonce at `at_ns`, by its journal."""
        running = self._awaited.get(nonce)
        if running is not None and running.pid is None:
            running.worker, running.pid = worker, pid
            self._reach(running.begun.label, "sent", running)

    def answered(self, nonce: str, at_ns: int) -> None:
        """Record that a worker ended the request with this nonce, by its journal."""
        running = self._awaited.get(nonce)
        if running is not None:
            running.received_ns = at_ns

    def fault(self, record: FaultRecord) -> None:
        """Record that a fault was tried."""
        self._append(FaultLine(record))

    def mark(self, name: str, text: str = "") -> None:
        """Record a moment of the run itself, now."""
        self._append(MarkLine(name, now_ns(), text))

    def leftovers(self, leftovers: Leftovers) -> None:
        """Record the processes, descriptors and threads that were left after the close."""
        self._append(LeftoversLine(leftovers))

    def statistics(self, statistics: Statistics) -> None:
        """Record the pool's own statistics."""
        self._append(StatisticsLine(statistics))

    def sessions(self, sessions: tuple[SessionStatus, ...]) -> None:
        """Record the pool's session table."""
        self._append(SessionsLine(sessions))

    def status(self, sample: StatusSample) -> None:
        """Record the pool's status and health."""
        self._append(StatusLine(sample))

    def growth(self, growth: Growth) -> None:
        """Record how much memory and how many descriptors many plain calls added."""
        self._append(GrowthLine(growth))

    def close(self) -> None:
        """Write the remaining lines and close the file. Idempotent."""
        if not self._stop.is_set():
            self._stop.set()
            self._thread.join()
            os.close(self._fd)

    def redact_files(self, folder: Path) -> None:
        """Take the credentials out of what the workers of this run have printed; `folder` has these files."""
        for path in folder.iterdir():
            data = path.read_bytes()
            if self._may_tell(data):
                text = data.decode(errors="surrogateescape")
                path.write_bytes(hide(redact_text(text), self._secrets).encode(errors="surrogateescape"))

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
                with contextlib.suppress(OSError):  # a fault may use up all descriptors
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
        except Exception:  # one line cannot be encoded; encode each by itself
            data = b"".join(self._encode_one(item) + b"\n" for item in batch)
        if not self._may_tell(data):
            return data
        return b"".join(
            (self._without_secrets(line) if self._may_tell(line) else line) + b"\n" for line in data.split(b"\n")[:-1]
        )

    def _may_tell(self, data: bytes) -> bool:
        return may_hold_a_secret(data) or any(secret in data for secret in self._secret_bytes)

    def _without_secrets(self, line: bytes) -> bytes:
        # A secret becomes known from the call that sends it, and is then removed from all later lines too.
        value = msgspec.json.decode(line)
        self._know(secrets_in(value))
        return self._encoder.encode(hide_in(redact(value), self._secrets))

    def _know(self, secrets: set[str]) -> None:
        self._secrets |= secrets
        self._secret_bytes = {self._encoder.encode(secret)[1:-1] for secret in self._secrets}

    def _encode_one(self, item: Line | Op | Running | Event) -> bytes:
        try:
            return self._encoder.encode(_line(item))
        except Exception as error:
            lost = error
        try:  # values that are not JSON, such as a lone surrogate, become text
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


def _origin(error: BaseException) -> str:
    """Describe where an error that is not a PoolError was raised: the innermost function of its traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return "never raised"
    return f"raised in {frames[-1].name}, {Path(frames[-1].filename).name}:{frames[-1].lineno}"


def _judge(error: BaseException) -> tuple[OpType, str, str]:
    if not isinstance(error, PoolError):
        return OpType.INFO, f"foreign {type(error).__name__}", "maybe"
    outcome = type(error).__name__
    if outcome == "CommandError":
        return OpType.FAIL, outcome, "yes"  # the worker answered: nothing is in doubt
    return (OpType.FAIL if error.sent == "no" else OpType.INFO), outcome, str(error.sent)

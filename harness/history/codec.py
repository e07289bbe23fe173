"""The lines of a history file, and a history from lines.

Pure: bytes in, records out. A line that is torn or strange is counted, never guessed.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

import msgspec
import numpy as np

from poolproof.bridge import Event, ServiceInterval, SessionStatus, Statistics
from poolproof.harness.history.columns import AT_ONCE, GatheredDocuments, GatheredNumbers, Vocabulary, order_by
from poolproof.harness.history.history import History, Leftovers, RunInfo, Sample
from poolproof.harness.history.joining import join_events, join_journals, land
from poolproof.harness.history.tables import Events, Ops, Services
from poolproof.harness.model.fault import FaultRecord
from poolproof.harness.model.op import Op, OpType


class OpLine(msgspec.Struct, frozen=True, tag="op"):
    """An operation as it began."""

    op: Op


class End(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of an operation at its end and was not at its begin; see Op.

    The times and numbers that the pool's events tell stand here in histories of older versions alone.
    """

    index: int
    checked_out_ns: int | None = None
    sent_ns: int | None = None
    received_ns: int | None = None
    completed_ns: int | None = None
    type: OpType
    outcome: str
    sent: str
    value: Any = None
    error: str = ""
    call: int | None = None
    worker: int | None = None
    pid: int | None = None


class EndLine(msgspec.Struct, frozen=True, tag="end"):
    """How an operation ended."""

    end: End


class EventLine(msgspec.Struct, frozen=True, tag="event"):
    """A step of the pool."""

    event: Event


class FaultLine(msgspec.Struct, frozen=True, tag="fault"):
    """What came of a fault."""

    fault: FaultRecord


class SampleLine(msgspec.Struct, frozen=True, tag="sample"):
    """What the run's process held."""

    sample: Sample


class MarkLine(msgspec.Struct, frozen=True, tag="mark"):
    """A moment of the run itself: begun, ended, close_began, close_ended, finished, or with its text trouble
    or a complaint.
    """

    name: str
    at_ns: int
    text: str = ""


class LeftoversLine(msgspec.Struct, frozen=True, tag="leftovers"):
    """What was left after close."""

    leftovers: Leftovers


class StatisticsLine(msgspec.Struct, frozen=True, tag="statistics"):
    """What the pool counted."""

    statistics: Statistics


class SessionsLine(msgspec.Struct, frozen=True, tag="sessions"):
    """The pool's session table after the last call."""

    sessions: tuple[SessionStatus, ...]


Line = OpLine | EndLine | EventLine | FaultLine | SampleLine | MarkLine | LeftoversLine | StatisticsLine | SessionsLine

_decoder = msgspec.json.Decoder(Line)


class _Reader:
    """Takes lines and makes columns of them, so that only the operations under way are objects."""

    def __init__(self, nonces: Vocabulary) -> None:
        self.events = Events.gathering()
        self.ops = Ops.gathering(GatheredDocuments, nonces)
        self.calls = GatheredNumbers("q")
        self.correlations = GatheredNumbers("q")
        self.faults: list[FaultRecord] = []
        self.samples: list[Sample] = []
        self.marks: dict[str, int] = {}
        self.trouble: list[str] = []
        self.complaints: list[str] = []
        self.leftovers: Leftovers | None = None
        self.statistics: Statistics | None = None
        self.sessions: tuple[SessionStatus, ...] | None = None
        self.torn = 0
        self._begun: dict[int, Op] = {}
        self._ended: list[Op] = []

    def take(self, lines: list[Line]) -> None:
        """These come next."""
        events = [line.event for line in lines if type(line) is EventLine]
        self.events.extend(events)
        told = [event for event in events if event.correlation is not None and event.call is not None]
        self.calls.extend([event.call for event in told])
        self.correlations.extend([event.correlation for event in told])
        for line in lines:
            match line:
                case EventLine():
                    pass
                case OpLine(op) if op.completed_ns is None:
                    self._begun[op.index] = op
                case OpLine(op):
                    self._begun.pop(op.index, None)
                    self._ended.append(msgspec.structs.replace(op, completions=1))
                case EndLine(end):
                    self._end(end)
                case FaultLine(fault):
                    self.faults.append(fault)
                case SampleLine(sample):
                    self.samples.append(sample)
                case MarkLine("trouble", _, why):
                    self.trouble.append(why)
                case MarkLine("complaint", _, what):
                    self.complaints.append(what)
                case MarkLine(name, at_ns):
                    self.marks.setdefault(name, at_ns)
                case LeftoversLine(found):
                    self.leftovers = found
                case StatisticsLine(counted):
                    self.statistics = counted
                case SessionsLine(sessions):
                    self.sessions = sessions
        if len(self._ended) >= AT_ONCE:
            self._gather()

    def _end(self, end: End) -> None:
        begun = self._begun.pop(end.index, None)
        if begun is None:  # it has ended before, or its begin is lost, and with it what was asked
            begun = self._ended_before(end.index)
        if begun is None:
            self.torn += 1
        else:
            self._ended.append(_ended(begun, end))

    def _ended_before(self, index: int) -> Op | None:
        self._gather()
        told = Ops(**self.ops.columns())
        rows = np.flatnonzero(told.index == index)
        return told[int(rows[-1])] if len(rows) else None

    def _gather(self) -> None:
        self.ops.extend(self._ended)
        self._ended.clear()

    def told_ops(self) -> Ops:
        """All operations by their numbers; of several that have the same one the last, with the ends of all."""
        self._ended += self._begun.values()
        self._gather()
        told = Ops(**self.ops.columns())
        told = told.take(order_by(told.index))
        last = np.append(told.index[1:] != told.index[:-1], True)[: len(told)]
        if last.all():
            return told
        ends = np.diff(np.cumsum(told.completions)[last], prepend=0)
        return told.take(last).replacing(completions=ends)


def build_history(info: RunInfo, lines: Iterable[bytes], services: Iterable[ServiceInterval]) -> History:
    """The history that the lines and the workers' journals tell. An operation's later line replaces the earlier."""
    nonces = Vocabulary()  # those of the operations and of the journals are compared
    reader = _Reader(nonces)
    lines = iter(lines)
    while some := list(islice(lines, AT_ONCE)):
        whole, torn = _decode(some)
        reader.take(whole)
        reader.torn += torn
    served = Services.of(services, nonces)
    served = served.take(order_by(served.start_ns))
    events = Events(**reader.events.columns())
    ops = join_events(reader.told_ops(), events, reader.calls.column(), reader.correlations.column())
    ops = join_journals(ops, served)
    marks = reader.marks
    return History(
        info=info,
        ops=ops,
        events=events,
        services=served,
        faults=land(reader.faults, ops),
        samples=tuple(reader.samples),
        leftovers=reader.leftovers,
        statistics=reader.statistics,
        sessions=reader.sessions,
        begun_ns=marks.get("begun"),
        ended_ns=marks.get("ended"),
        close_began_ns=marks.get("close_began"),
        close_ended_ns=marks.get("close_ended"),
        finished="finished" in marks,
        trouble="; ".join(reader.trouble),
        complaints=tuple(reader.complaints),
        torn_lines=reader.torn,
    )


def _decode(lines: list[bytes]) -> tuple[list[Line], int]:
    # The lines that can be read, and how many cannot.
    try:
        found = _decoder.decode_lines(b"\n".join(lines))
        if len(found) == len(lines):
            return found, 0
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    found, torn = [], 0
    for line in lines:
        try:
            found.append(_decoder.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError):
            torn += 1
    return found, torn


def _ended(op: Op, end: End) -> Op:
    return Op(
        index=op.index,
        client=op.client,
        command=op.command,
        args=op.args,
        nonce=op.nonce,
        label=op.label,
        session=op.session,
        timeout_s=op.timeout_s,
        checkout_timeout_s=op.checkout_timeout_s,
        intended_ns=op.intended_ns,
        invoked_ns=op.invoked_ns,
        checked_out_ns=end.checked_out_ns,
        sent_ns=end.sent_ns,
        received_ns=end.received_ns,
        completed_ns=end.completed_ns,
        type=end.type,
        outcome=end.outcome,
        sent=end.sent,
        value=end.value,
        error=end.error,
        completions=1,
        call=end.call,
        worker=end.worker,
        pid=end.pid,
    )

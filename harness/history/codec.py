"""Encodes the lines of a history file, and builds a history from lines.

Pure: bytes in, records out. A line that is incomplete or invalid is counted, and its content is never guessed.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

import msgspec
import numpy as np

from poolproof.bridge import Event, ServiceInterval, SessionStatus, Statistics
from poolproof.harness.history.columns import AT_ONCE, order_by
from poolproof.harness.history.gathering import GatheredDocuments, GatheredNumbers, Vocabulary
from poolproof.harness.history.history import Growth, History, Leftovers, RunInfo, Sample, StatusSample
from poolproof.harness.history.joining import join_events, join_journals, land
from poolproof.harness.history.tables import Events, Ops, Services
from poolproof.harness.model.fault import FaultRecord
from poolproof.harness.model.op import Op, OpType


class OpLine(msgspec.Struct, frozen=True, tag="op"):
    """The begin of an operation."""

    op: Op


class End(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The fields of an operation that are known only at its end; see Op.

    Only histories of older versions have the times and numbers of the pool's events here.
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
    """The end of an operation."""

    end: End


class EventLine(msgspec.Struct, frozen=True, tag="event"):
    """An event of the pool."""

    event: Event


class FaultLine(msgspec.Struct, frozen=True, tag="fault"):
    """The result of a fault."""

    fault: FaultRecord


class SampleLine(msgspec.Struct, frozen=True, tag="sample"):
    """A sample of what the run's process held."""

    sample: Sample


class MarkLine(msgspec.Struct, frozen=True, tag="mark"):
    """A moment of the run itself.

    The names are begun, ended, healed, probed, close_began, close_ended and finished; trouble, complaint, no_statistics
    and no_sessions have a text.
    """

    name: str
    at_ns: int
    text: str = ""


class LeftoversLine(msgspec.Struct, frozen=True, tag="leftovers"):
    """The processes, descriptors and threads that were left after the close."""

    leftovers: Leftovers


class StatisticsLine(msgspec.Struct, frozen=True, tag="statistics"):
    """The pool's own statistics."""

    statistics: Statistics


class SessionsLine(msgspec.Struct, frozen=True, tag="sessions"):
    """The pool's session table after the last call."""

    sessions: tuple[SessionStatus, ...]


class StatusLine(msgspec.Struct, frozen=True, tag="status"):
    """The pool's status and health while calls ran."""

    status: StatusSample


class GrowthLine(msgspec.Struct, frozen=True, tag="growth"):
    """How much memory and how many descriptors many plain calls added."""

    growth: Growth


Line = (
    OpLine
    | EndLine
    | EventLine
    | FaultLine
    | SampleLine
    | MarkLine
    | LeftoversLine
    | StatisticsLine
    | SessionsLine
    | StatusLine
    | GrowthLine
)

_decoder = msgspec.json.Decoder(Line)


class _Reader:
    """Reads lines into columns; only the operations in progress are objects."""

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
        self.statuses: list[StatusSample] = []
        self.growth: Growth | None = None
        self.torn = 0
        self._begun: dict[int, Op] = {}
        self._ended: list[Op] = []

    def take(self, lines: list[Line]) -> None:
        """Read the next lines."""
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
                case StatusLine(status):
                    self.statuses.append(status)
                case GrowthLine(growth):
                    self.growth = growth
        if len(self._ended) >= AT_ONCE:
            self._gather()

    def _end(self, end: End) -> None:
        begun = self._begun.pop(end.index, None)
        if begun is None:  # the operation has ended before, or its begin is lost, and with it the request
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
        """Return all operations by number. If a number occurs again, its last operation counts, with all ends."""
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
    """Build the history from the lines and the workers' journals. A later line of an operation replaces the earlier."""
    nonces = Vocabulary()  # shared, since the nonces of operations and journals are compared
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
        statuses=tuple(reader.statuses),
        growth=reader.growth,
        torn_lines=reader.torn,
    )


def _decode(lines: list[bytes]) -> tuple[list[Line], int]:
    # Returns the valid lines, and the number of the others.
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

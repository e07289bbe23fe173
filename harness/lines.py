"""The lines of a history file, and a history from lines.

Pure: bytes in, records out. A line that is torn or strange is counted, never guessed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import msgspec

from bridge import Event, ServiceInterval, Statistics
from harness.fault import FaultRecord
from harness.history import History, Leftovers, Op, OpType, RunInfo, Sample


class OpLine(msgspec.Struct, frozen=True, tag="op"):
    """An operation as it began."""

    op: Op


class End(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of an operation at its end and was not at its begin; see Op."""

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
    """A moment of the run itself: begun, ended, close_began, close_ended, finished, or trouble with its text."""

    name: str
    at_ns: int
    text: str = ""


class LeftoversLine(msgspec.Struct, frozen=True, tag="leftovers"):
    """What was left after close."""

    leftovers: Leftovers


class StatisticsLine(msgspec.Struct, frozen=True, tag="statistics"):
    """What the pool counted."""

    statistics: Statistics


Line = OpLine | EndLine | EventLine | FaultLine | SampleLine | MarkLine | LeftoversLine | StatisticsLine

_decoder = msgspec.json.Decoder(Line)


def build_history(info: RunInfo, lines: Iterable[bytes], services: Iterable[ServiceInterval]) -> History:
    """The history that the lines tell. The later line of an operation replaces the earlier."""
    ops: dict[int, Op] = {}
    completions: Counter[int] = Counter()
    words: dict[str, str] = {}
    events: list[Event] = []
    faults: list[FaultRecord] = []
    samples: list[Sample] = []
    marks: dict[str, int] = {}
    trouble: list[str] = []
    leftovers: Leftovers | None = None
    statistics: Statistics | None = None
    torn = 0
    for text in lines:
        try:
            line = _decoder.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError):
            torn += 1
            continue
        match line:
            case OpLine(op):
                ops[op.index] = op
                completions[op.index] += op.completed_ns is not None
            case EndLine(end):
                completions[end.index] += 1
                if end.index in ops:
                    ops[end.index] = _ended(ops[end.index], end, completions[end.index], words)
                else:
                    torn += 1  # its begin is lost, and with it what was asked
            case EventLine(event):
                events.append(event)
            case FaultLine(fault):
                faults.append(fault)
            case SampleLine(sample):
                samples.append(sample)
            case MarkLine("trouble", _, why):
                trouble.append(why)
            case MarkLine(name, at_ns):
                marks.setdefault(name, at_ns)
            case LeftoversLine(found):
                leftovers = found
            case StatisticsLine(counted):
                statistics = counted
    return History(
        info=info,
        ops=tuple(_told(ops[index], completions[index]) for index in sorted(ops)),
        events=tuple(events),
        services=tuple(services),
        faults=tuple(faults),
        samples=tuple(samples),
        leftovers=leftovers,
        statistics=statistics,
        begun_ns=marks.get("begun"),
        ended_ns=marks.get("ended"),
        close_began_ns=marks.get("close_began"),
        close_ended_ns=marks.get("close_ended"),
        finished="finished" in marks,
        trouble="; ".join(trouble),
        torn_lines=torn,
    )


def _told(op: Op, completions: int) -> Op:
    return op if op.completions == completions else msgspec.structs.replace(op, completions=completions)


def _ended(op: Op, end: End, completions: int, words: dict[str, str]) -> Op:
    # A history has few different words, and a million operations hold each of them only once.
    return Op(
        index=op.index,
        client=op.client,
        command=words.setdefault(op.command, op.command),
        args=op.args,
        nonce=op.nonce,
        label=words.setdefault(op.label, op.label),
        session=None if op.session is None else words.setdefault(op.session, op.session),
        timeout_s=op.timeout_s,
        checkout_timeout_s=op.checkout_timeout_s,
        intended_ns=op.intended_ns,
        invoked_ns=op.invoked_ns,
        checked_out_ns=end.checked_out_ns,
        sent_ns=end.sent_ns,
        received_ns=end.received_ns,
        completed_ns=end.completed_ns,
        type=end.type,
        outcome=words.setdefault(end.outcome, end.outcome),
        sent=words.setdefault(end.sent, end.sent),
        value=end.value,
        error=end.error,
        completions=completions,
        call=end.call,
        worker=end.worker,
        pid=end.pid,
    )

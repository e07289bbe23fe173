"""The lines of a history file, and a history from lines.

Pure: bytes in, records out. A line that is torn or strange is counted, never guessed.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from bridge import Event, ServiceInterval, Statistics
from harness.fault import FaultRecord
from harness.history import History, Leftovers, Op, RunInfo, Sample


class OpLine(msgspec.Struct, frozen=True, tag="op"):
    """An operation as it began, and again as it ended."""

    op: Op


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


Line = OpLine | EventLine | FaultLine | SampleLine | MarkLine | LeftoversLine | StatisticsLine

_decoder = msgspec.json.Decoder(Line)


def build_history(info: RunInfo, lines: Iterable[bytes], services: Iterable[ServiceInterval]) -> History:
    """The history that the lines tell. The later line of an operation replaces the earlier."""
    ops: dict[int, Op] = {}
    completions: dict[int, int] = {}
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
                completions[op.index] = completions.get(op.index, 0) + (op.completed_ns is not None)
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
        ops=tuple(msgspec.structs.replace(op, completions=completions[index]) for index, op in sorted(ops.items())),
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

"""What one run recorded: its operations, the steps of its workers, its faults and what was left over.

Pure data with lookups; it refuses to judge. All times are time.monotonic_ns of one machine.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cached_property
from operator import attrgetter, itemgetter
from typing import Any

import msgspec

from bridge import Event, EventKind, ServiceInterval, Statistics
from harness.fault import FaultRecord

_moment = attrgetter("at_ns")


class OpType(StrEnum):
    """How an operation ended. INFO: it may have happened, or nobody knows."""

    OK = "ok"
    FAIL = "fail"
    INFO = "info"


class Op(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One call of one client, from the moment it was meant to begin until it was over.

    `outcome` is one of bridge.OUTCOMES, or "pending" if the run ended first. `sent` is no, maybe or yes.
    `call`, `worker` and `pid` are the pool's own numbers for it, None if no worker was given or the pool tells nothing.
    """

    index: int
    client: int
    command: str
    args: dict[str, Any]
    nonce: str
    label: str = ""
    session: str | None = None
    timeout_s: float | None = None
    checkout_timeout_s: float | None = None
    intended_ns: int
    invoked_ns: int
    checked_out_ns: int | None = None
    sent_ns: int | None = None
    received_ns: int | None = None
    completed_ns: int | None = None
    type: OpType = OpType.INFO
    outcome: str = "pending"
    sent: str = "maybe"
    value: Any = None
    error: str = ""
    completions: int = 0
    call: int | None = None
    worker: int | None = None
    pid: int | None = None

    @property
    def response_s(self) -> float | None:
        """From the intended begin to the end, in seconds; waiting counts. None while pending."""
        return None if self.completed_ns is None else (self.completed_ns - self.intended_ns) / 1e9


class Leftovers(msgspec.Struct, frozen=True, kw_only=True):
    """What was still there after close that was not there before: pids, descriptors and threads by name."""

    processes: tuple[int, ...] = ()
    descriptors: tuple[str, ...] = ()
    threads: tuple[str, ...] = ()


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """What the run's process held at a moment: resident bytes, descriptors, threads and children."""

    at_ns: int
    memory_bytes: int
    descriptors: int
    threads: int
    children: int


class RunInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What was run, so that it can be run again. `file` defines the scenario if the catalogue does not.

    `worker_command` is empty for the shipped worker.
    """

    scenario: str
    file: str = ""
    pool: str
    pool_name: str
    seed: int
    workers: int
    clients: int
    profile: str
    started_at: str
    started_ns: int
    call_timeout_s: float
    checkout_timeout_s: float
    worker_command: str = ""


class History(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """A whole run. `finished` is false if it was cut off; `trouble` says what went wrong with the run itself."""

    info: RunInfo
    ops: tuple[Op, ...] = ()
    events: tuple[Event, ...] = ()
    services: tuple[ServiceInterval, ...] = ()
    faults: tuple[FaultRecord, ...] = ()
    samples: tuple[Sample, ...] = ()
    leftovers: Leftovers | None = None
    statistics: Statistics | None = None
    begun_ns: int | None = None
    ended_ns: int | None = None
    close_began_ns: int | None = None
    close_ended_ns: int | None = None
    finished: bool = False
    trouble: str = ""
    torn_lines: int = 0

    @cached_property
    def events_by_kind(self) -> dict[EventKind, tuple[Event, ...]]:
        """The pool's events, each kind in order of time."""
        found: dict[str, list[Event]] = {kind.value: [] for kind in EventKind}
        for event in self.events:
            found[event.kind._value_].append(event)  # a string's hash is kept; that of an enum is worked out anew
        for events in found.values():
            events.sort(key=_moment)
        return {kind: tuple(found[kind.value]) for kind in EventKind}

    @cached_property
    def events_by_worker(self) -> dict[int, list[Event]]:
        """The events of each worker in order of time; of one moment, in the order of their recording."""
        found: dict[int, list[Event]] = {}
        for event in self.events:
            if event.worker is not None:
                found.setdefault(event.worker, []).append(event)
        for events in found.values():
            events.sort(key=_moment)
        return found

    @cached_property
    def granted_ns(self) -> dict[int | None, int]:
        """When each call was first given a worker: OFFER or ACCEPT, whichever came first."""
        found = {event.call: event.at_ns for event in reversed(self.events_by_kind[EventKind.ACCEPT])}
        for event in self.events_by_kind[EventKind.OFFER]:
            if event.at_ns < found.get(event.call, event.at_ns + 1):
                found[event.call] = event.at_ns
        return found

    @cached_property
    def left_ns(self) -> dict[int | None, int]:
        """When each call gave up or was over: WITHDRAW or DONE, whichever came first."""
        found = {event.call: event.at_ns for event in reversed(self.events_by_kind[EventKind.DONE])}
        for event in self.events_by_kind[EventKind.WITHDRAW]:
            if event.at_ns < found.get(event.call, event.at_ns + 1):
                found[event.call] = event.at_ns
        return found

    @cached_property
    def closed_intervals(self) -> list[tuple[int, int, ServiceInterval]]:
        """(start, end, interval) of each of `intervals` whose end is known, by start.

        One without an end is cut at its worker's end.
        """
        ends: dict[int, int] = {}
        for kind in (EventKind.REAP, EventKind.KILL):  # the kill comes first in time, so it is written last
            for event in reversed(self.events_by_kind[kind]):
                if event.pid is not None:
                    ends[event.pid] = event.at_ns
        found = []
        for interval in self.intervals:
            end = interval.end_ns if interval.end_ns is not None else ends.get(interval.pid)
            if end is not None and end >= interval.start_ns:
                found.append((interval.start_ns, end, interval))
        found.sort(key=itemgetter(0, 1))
        return found

    @cached_property
    def intervals(self) -> tuple[ServiceInterval, ...]:
        """When workers were at work on requests, by their own journals; from SEND to RECEIVE if there are none."""
        if self.services:
            return self.services
        received = {event.call: event.at_ns for event in self.events_by_kind[EventKind.RECEIVE]}
        ops = {op.call: op for op in self.ops if op.call is not None}
        return tuple(
            ServiceInterval(
                worker_id=event.worker,
                pid=event.pid or 0,
                request_id=event.call,
                command=ops[event.call].command if event.call in ops else "",
                nonce=ops[event.call].nonce if event.call in ops else None,
                start_ns=event.at_ns,
                end_ns=received.get(event.call),
                ok=ops[event.call].type is OpType.OK if event.call in ops else None,
            )
            for event in self.events_by_kind[EventKind.SEND]
            if event.call is not None and event.worker is not None
        )

    @cached_property
    def judged_ops(self) -> tuple[Op, ...]:
        """All operations; of a run that was cut off only those that had ended, since nobody knows of the others."""
        return self.ops if self.finished else tuple(op for op in self.ops if op.completed_ns is not None)

    def labelled(self, label: str) -> tuple[Op, ...]:
        """Those of `judged_ops` whose step has this label."""
        return tuple(op for op in self.judged_ops if op.label == label)

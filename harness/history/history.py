"""The history of one run: its operations, the events of its workers, its faults and what was left over.

Pure data with lookups; it does not judge. All times are time.monotonic_ns of one machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import msgspec
import numpy as np

from poolproof.bridge import Capability, EventKind, Health, PoolStatus, SessionStatus, Statistics
from poolproof.harness.history.columns import NONE, Earliest, Numbers, find_last, order_by, pick
from poolproof.harness.history.joining import first_service
from poolproof.harness.history.tables import Events, Ops, Services
from poolproof.harness.model.fault import FaultRecord
from poolproof.harness.model.op import Op, OpType


class Leftovers(msgspec.Struct, frozen=True, kw_only=True):
    """The processes, descriptors and threads that exist after the close and did not exist before the run.

    `commands` has the command line of each process, as far as it is known, in the order of `processes`.
    """

    processes: tuple[int, ...] = ()
    descriptors: tuple[str, ...] = ()
    threads: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """What the run's process held at a moment: resident bytes, descriptors, threads and children."""

    at_ns: int
    memory_bytes: int
    descriptors: int
    threads: int
    children: int


class StatusSample(msgspec.Struct, frozen=True, kw_only=True):
    """The pool's health between two of its status snapshots, asked for from `began_ns` to `ended_ns`.

    `error` is the exception that one of the three calls raised instead; then the others are None.
    """

    began_ns: int
    ended_ns: int
    status: PoolStatus | None = None
    health: Health | None = None
    status_after: PoolStatus | None = None
    error: str = ""


class Growth(msgspec.Struct, frozen=True, kw_only=True):
    """The growth of this process and of the workers over several series of `calls` plain calls each.

    `blocks` are the blocks that the interpreter holds after each series, `own_bytes` the resident memory of this
    process, and `workers_bytes` that of all worker processes. `descriptors` has, for each process below this one that
    lived through the whole run, how many descriptors it held at the begin and at the end of the run.
    """

    calls: int
    blocks: tuple[int, ...]
    workers_bytes: tuple[int, ...]
    descriptors: tuple[tuple[int, int, int], ...] = ()
    own_bytes: tuple[int, ...] = ()


class RunInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What was run, so that it can be run again. `file` defines the scenario if it is not in the catalogue.

    `worker_command` is empty for the shipped worker. `face` is the way in which the pool was called, `observed` whether
    it had an observer, and `baseline` the other pool of a face that needs two pools. `void` are the checkers that do
    not apply because of the face's contract; `uncounted` are the outcomes that it leaves out of the pool's statistics.
    With `limits_service`, a call's limit counts from the moment when a worker takes it.
    `options` are the scenario's options of the pool, and `capabilities` those of the pool. `cannot_show` are the kinds
    of evidence that the pool has declared it cannot show. A client sends at most `together` calls in one batch.
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
    face: str = "execute"
    observed: bool = True
    baseline: str = ""
    void: tuple[str, ...] = ()
    uncounted: tuple[str, ...] = ()
    limits_service: bool = False
    options: dict[str, Any] = {}
    capabilities: tuple[str, ...] = ()
    cannot_show: tuple[str, ...] = ()
    together: int = 1


class EventsByKind(Mapping[EventKind, Events]):
    """The events of each kind in order of time, selected on access, so that each event is held only once."""

    def __init__(self, events: Events) -> None:
        self._events = events

    def __getitem__(self, kind: EventKind) -> Events:
        found = self._events.take(self._events.kind.are(kind))
        return found.take(order_by(found.at_ns))

    def __iter__(self) -> Iterator[EventKind]:
        return iter(EventKind)

    def __len__(self) -> int:
        return len(EventKind)


class History(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """The history of a whole run.

    `finished` is false if the run was cut off; `trouble` says what failed in the run itself. `complaints` are faults of
    the pool that the face saw, beside the outcomes of the calls.

    Operations, events and service intervals are tables; sequences are converted.
    """

    info: RunInfo
    ops: Ops = msgspec.field(default_factory=lambda: Ops.of(()))
    events: Events = msgspec.field(default_factory=lambda: Events.of(()))
    services: Services = msgspec.field(default_factory=lambda: Services.of(()))
    faults: tuple[FaultRecord, ...] = ()
    samples: tuple[Sample, ...] = ()
    leftovers: Leftovers | None = None
    statistics: Statistics | None = None
    sessions: tuple[SessionStatus, ...] | None = None
    begun_ns: int | None = None
    ended_ns: int | None = None
    close_began_ns: int | None = None
    close_ended_ns: int | None = None
    finished: bool = False
    trouble: str = ""
    complaints: tuple[str, ...] = ()
    statuses: tuple[StatusSample, ...] = ()
    growth: Growth | None = None
    torn_lines: int = 0

    def __post_init__(self) -> None:
        for name, table in (("ops", Ops), ("events", Events), ("services", Services)):
            held = getattr(self, name)
            if not isinstance(held, table):
                msgspec.structs.force_setattr(self, name, table.of(held))

    @cached_property
    def events_by_kind(self) -> EventsByKind:
        """The pool's events, each kind in order of time."""
        return EventsByKind(self.events)

    @cached_property
    def queued_ns(self) -> Earliest:
        """When each call had its place in the queue at the latest, by the waiting time that its OFFER event reports."""
        offers = self.events_by_kind[EventKind.OFFER]
        told = np.array([int(word) if word.isdecimal() else NONE for word in offers.detail.words], dtype=np.int64)
        waited_us = told[offers.detail.codes] if len(told) else offers.at_ns
        known = (waited_us != NONE) & (offers.call != NONE)
        return Earliest(offers.call[known], (offers.at_ns - waited_us * 1000)[known])

    def steps(self, *kinds: EventKind) -> Events:
        """Return the workers' events of these kinds by worker, then by time; events of the same moment as recorded."""
        return self.events.take(self.step_rows(*kinds))

    def step_rows(self, *kinds: EventKind) -> Numbers:
        """Return the rows of `steps` among the events, for callers that need few of the columns."""
        events = self.events
        rows = np.flatnonzero(events.kind.are(*kinds) & (events.worker != NONE))
        rows = rows.astype(np.int32) if len(events) < 1 << 31 else rows
        return rows[order_by(events.worker[rows], events.at_ns[rows])]

    @cached_property
    def granted_ns(self) -> Earliest:
        """When each call was first assigned a worker: the first of OFFER and ACCEPT."""
        return self._earliest(EventKind.OFFER, EventKind.ACCEPT)

    @cached_property
    def left_ns(self) -> Earliest:
        """When each call gave up or was over: the first of WITHDRAW and DONE."""
        return self._earliest(EventKind.WITHDRAW, EventKind.DONE)

    def _earliest(self, *kinds: EventKind) -> Earliest:
        chosen = self.events.kind.are(*kinds) & (self.events.call != NONE)
        return Earliest(self.events.call[chosen], self.events.at_ns[chosen])

    @cached_property
    def closed_intervals(self) -> Services:
        """The intervals whose end is known, by start and end. An interval without an end is cut at its worker's end."""
        intervals = self.intervals
        ends = self.events.take(self.events.kind.are(EventKind.KILL, EventKind.REAP) & (self.events.pid != NONE))
        killed = ends.take(ends.kind.are(EventKind.KILL))
        end_ns = intervals.end_ns
        for moments in (Earliest(killed.pid, killed.at_ns), Earliest(ends.pid, ends.at_ns)):  # a kill takes precedence
            end_ns = np.where(end_ns == NONE, moments.of(intervals.pid), end_ns)
        found = intervals.replacing(end_ns=end_ns).take((end_ns != NONE) & (end_ns >= intervals.start_ns))
        return found.take(order_by(found.start_ns, found.end_ns))

    @cached_property
    def intervals(self) -> Services:
        """When workers were at work on requests, by their journals; without journals, from SEND to RECEIVE."""
        if len(self.services):
            return self.services
        return Services.of_exchanges(
            self.ops, self.events_by_kind[EventKind.SEND], self.events_by_kind[EventKind.RECEIVE]
        )

    @cached_property
    def serving(self) -> Numbers:
        """For each operation, the row of the service interval of its request; -1 if there is none.

        Matched by pid and call number if the pool promises that its call numbers are the request ids on the wire (the
        capability REQUEST_IDS); otherwise, and for calls that the pool has not reported, by the nonce.
        """
        ops, services = self.ops, self.services
        if Capability.REQUEST_IDS not in self.info.capabilities:
            return first_service(ops, services)
        found = find_last((ops.pid, ops.call), (services.pid, services.request_id))
        untold = (ops.pid == NONE) | (ops.call == NONE)
        return np.where(untold, first_service(ops, services) if untold.any() else -1, found)

    def limits_s(self, ops: Ops) -> Numbers:
        """Return the limit of each operation in seconds: its own limit, or else the pool's."""
        return np.where(np.isnan(ops.timeout_s), self.info.call_timeout_s, ops.timeout_s)

    def limit_begins_ns(self, ops: Ops) -> Numbers:
        """Return when the limit of each operation begins; NONE if it counts from a service that no journal shows."""
        if not self.info.limits_service:
            return ops.invoked_ns
        row = first_service(ops, self.services)
        return np.where(row >= 0, pick(self.services.start_ns, row, NONE), NONE)

    def patience_s(self, ops: Ops) -> Numbers:
        """Return how many seconds each operation may wait for a worker, within its whole limit."""
        own_s = ops.checkout_timeout_s
        return np.minimum(self.limits_s(ops), np.where(np.isnan(own_s), self.info.checkout_timeout_s, own_s))

    @cached_property
    def judged_ops(self) -> Ops:
        """All operations; if the run was cut off, only those that had ended, since the others are unknown."""
        return self.ops if self.finished else self.ops.take(self.ops.completed_ns != NONE)

    def labelled(self, label: str) -> Ops:
        """Return the operations of `judged_ops` whose step has this label."""
        chosen = self.judged_ops.label.are(label)
        return self.judged_ops if chosen.all() else self.judged_ops.take(chosen)


__all__ = ["Growth", "History", "Leftovers", "Op", "OpType", "RunInfo", "Sample", "StatusSample"]

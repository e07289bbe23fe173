"""A synthetic long history, as a correct pool could have produced it: the input of the checkers' own benchmark.

Sixteen clients on as many workers, two by two. Most calls are plain or belong to a session of their client; in some
sessions the calls of two clients overlap. Workers are killed, hang past a deadline or are retired, and each is
replaced; some calls give up before they have a worker.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any

import msgspec

from poolproof.bridge import Event, EventKind, ServiceInterval, Statistics
from poolproof.bridge.worker.journal import Entry
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
    StatisticsLine,
)
from poolproof.harness.history.history import History, Leftovers, Op, OpType, RunInfo, Sample
from poolproof.harness.history.tables import Events, Ops, Services
from poolproof.harness.model.fault import FaultKind, FaultRecord
from poolproof.harness.run.store import RunFolder

WORKERS = 16
PAIRS = WORKERS // 2
TURN_NS = 100_000
"""Both clients of a pair make one call in each turn; a fault costs them some turns."""
STEP_NS = 10_000
SESSION_TURNS = 50
FAULT_EVERY = 500
"""Turns of a pair between two troubles; the kinds of trouble alternate."""
SAMPLE_EVERY = 300
HANG_S = 0.001
BEGUN_NS = 1_000_000_000
AT_ONCE = 4096
ENDS = tuple(field for field in End.__struct_fields__ if field != "index")
NOT_YET: dict[str, Any] = {
    name: field.default
    for name, field in ((field.name, field) for field in msgspec.structs.fields(Op))
    if name in ENDS or name == "completions"
}
"""The fields of an operation that are unknown when it begins."""

Item = tuple[int, Line | Op | ServiceInterval]
"""A time, and the record of that time; an operation is complete, and has the time of its end."""

INFO = RunInfo(
    scenario="synthetic",
    pool="v2",
    pool_name="synthetic",
    seed=1,
    workers=WORKERS,
    clients=WORKERS,
    profile="full",
    started_at="",
    started_ns=BEGUN_NS,
    call_timeout_s=5.0,
    checkout_timeout_s=5.0,
)


class _Worker:
    """The worker id and pid of a worker; both change when the worker is replaced."""

    def __init__(self, place: int) -> None:
        self.place = place
        self.number = place + 1

    @property
    def pid(self) -> int:
        return 1000 + self.number

    def replaced(self) -> None:
        self.number += WORKERS

    def event(self, kind: EventKind, at_ns: int, detail: str = "") -> Item:
        return at_ns, EventLine(Event(kind, at_ns, None, self.number, self.pid, detail))

    def born(self, at_ns: int) -> Iterator[Item]:
        yield self.event(EventKind.SPAWN, at_ns)
        yield self.event(EventKind.READY, at_ns + 5 * STEP_NS)


class _Pair:
    """Two clients and the two workers that serve them."""

    def __init__(self, number: int, turns: int) -> None:
        self.number = number
        self.turns = turns
        self.end_ns = end_of(turns)
        self.workers = (_Worker(2 * number), _Worker(2 * number + 1))
        self.seen: dict[str, tuple[str | None, str | None]] = {}  # each session's current value, and its previous value
        self.at_ns = BEGUN_NS + number * 7  # no two pairs record anything at the same time

    def items(self) -> Iterator[Item]:
        """All records of the pair, in order of time."""
        for worker in self.workers:
            yield from worker.born(self.at_ns)
        self.at_ns += TURN_NS
        for turn in range(self.turns):
            trouble = (turn // FAULT_EVERY + self.number) % 4 if turn % FAULT_EVERY == FAULT_EVERY - 1 else None
            both = [self._call(turn, side, trouble if side == 0 else None) for side in (0, 1)]
            yield from heapq.merge(*both, key=itemgetter(0))
            self.at_ns += TURN_NS if trouble is None else 30 * TURN_NS
        for worker in self.workers:
            yield worker.event(EventKind.KILL, self.end_ns - STEP_NS, "retired")
            yield worker.event(EventKind.REAP, self.end_ns - 1)

    def _call(self, turn: int, side: int, trouble: int | None) -> Iterator[Item]:
        worker, began = self.workers[side], self.at_ns
        client = worker.place
        index = client * self.turns + turn
        call = turn * WORKERS + client + 1
        nonce = f"1.{client}.{turn}"
        command, session, args, value = self._ask(turn, side, nonce, lost=trouble in (0, 1, 2))

        def event(kind: EventKind, step: int, detail: str = "") -> Item:
            free = kind in (EventKind.ENQUEUE, EventKind.DONE, EventKind.WITHDRAW)
            number, pid = (None, None) if free else (worker.number, worker.pid)
            at_ns = began + step * STEP_NS
            return at_ns, EventLine(Event(kind, at_ns, call, number, pid, detail))

        op = Op(
            index=index,
            client=client,
            command=command,
            args=args,
            nonce=nonce,
            label="call",
            session=session,
            intended_ns=began,
            invoked_ns=began,
            checked_out_ns=began + 2 * STEP_NS,
            sent_ns=began + 3 * STEP_NS,
            received_ns=began + 6 * STEP_NS,
            completed_ns=began + 9 * STEP_NS,
            type=OpType.OK,
            outcome="result",
            sent="yes",
            value=value,
            completions=1,
            call=call,
            worker=worker.number,
            pid=worker.pid,
        )
        service = ServiceInterval(
            worker.number, worker.pid, call, command, nonce, began + 4 * STEP_NS, began + 5 * STEP_NS, True
        )
        lost = msgspec.structs.replace(service, end_ns=None, ok=None)
        change = msgspec.structs.replace
        if trouble == 0:  # killed in the middle of its work
            op = change(op, type=OpType.INFO, outcome="WorkerCrashed", sent="maybe", value=None, received_ns=None)
        elif trouble == 1:  # hung until the call's deadline
            done_ns = began + int(HANG_S * 1e9)
            op = change(op, type=OpType.INFO, outcome="CallTimeout", sent="maybe", value=None, received_ns=None)
            op = change(op, timeout_s=HANG_S, completed_ns=done_ns, error=f"no answer within {HANG_S} s")
        elif trouble == 2:  # no worker in time
            op = change(op, type=OpType.FAIL, outcome="CheckoutTimeout", sent="no", value=None, received_ns=None)
            op = change(op, checkout_timeout_s=1e-6, checked_out_ns=None, sent_ns=None, worker=None, pid=None)
        yield began, OpLine(change(op, **NOT_YET))
        yield event(EventKind.ENQUEUE, 1)
        last = 8
        if trouble == 2:
            yield event(EventKind.WITHDRAW, 7)
        else:
            if turn % 2:
                yield event(EventKind.OFFER, 2)
            yield event(EventKind.ACCEPT, 2)
            yield event(EventKind.SEND, 3)
            if trouble in (0, 1):
                kind = FaultKind.KILL if trouble == 0 else FaultKind.HANG
                last = 8 if trouble == 0 else round(HANG_S * 1e9 / STEP_NS) - 1
                fault = FaultRecord(kind=kind, at_ns=began + 5 * STEP_NS, landed=True, worker=worker.number)
                yield began + 4 * STEP_NS, lost
                yield began + 5 * STEP_NS, FaultLine(change(fault, pid=worker.pid))
                yield worker.event(EventKind.KILL, began + (last - 2) * STEP_NS, "dirty")
                yield worker.event(EventKind.REAP, began + (last - 1) * STEP_NS)
            else:
                yield began + 5 * STEP_NS, service
                yield event(EventKind.RECEIVE, 6)
                yield event(EventKind.CHECKIN, 7)
        yield event(EventKind.DONE, last, op.outcome)
        assert op.completed_ns is not None
        yield op.completed_ns, op
        if trouble == 3:  # the worker has reached its request limit
            yield worker.event(EventKind.KILL, op.completed_ns, "retired")
            yield worker.event(EventKind.REAP, op.completed_ns + STEP_NS)
        if trouble in (0, 1, 3):
            worker.replaced()
            yield from worker.born(op.completed_ns + 2 * STEP_NS)

    def _ask(
        self, turn: int, side: int, nonce: str, *, lost: bool
    ) -> tuple[str, str | None, dict[str, Any], dict[str, Any]]:
        # The command, its session, its arguments and its answer; a lost call changes no state.
        block, place = divmod(turn, SESSION_TURNS)
        args = {"nonce": nonce}
        if place % 2 == 0:
            return "echo", None, args, args
        shared = block % 4 == 3
        session = f"s{self.number}.{block}" if shared else f"s{self.number}.{block}.{side}"
        held, before = self.seen.get(session, (None, None))
        args = {"nonce": nonce, "key": "k"}
        if side == 0 if shared else place % 4 == 1:
            if not lost:
                self.seen[session] = f"v{turn}", held
            return "put", session, {**args, "value": f"v{turn}"}, {"nonce": nonce, "stored": True}
        # In a shared session the other client puts at the same time: a get may return its value or the previous one.
        value = before if shared and turn % 3 == 0 and not self._lost_now(turn) else held
        return "get", session, args, {"nonce": nonce, "value": value, "found": value is not None}

    def _lost_now(self, turn: int) -> bool:
        return turn % FAULT_EVERY == FAULT_EVERY - 1


def end_of(turns: int) -> int:
    """The time at which the close begins, after this many turns of every pair."""
    return BEGUN_NS + (turns + 30 * (turns // FAULT_EVERY) + 100) * TURN_NS


def happenings(operations: int) -> Iterator[Item]:
    """All records of a run with this many operations, in order of time; `operations` is rounded down to whole turns."""
    turns = operations // WORKERS
    samples = (
        (at_ns, SampleLine(Sample(at_ns, 1 << 26, 40, 20, WORKERS)))
        for at_ns in range(BEGUN_NS, end_of(turns), SAMPLE_EVERY * TURN_NS)
    )
    pairs = [_Pair(number, turns).items() for number in range(PAIRS)]
    yield from heapq.merge(samples, *pairs, key=itemgetter(0))


def last_lines(operations: int, outcomes: Counter[str]) -> list[Line]:
    """The last records of a run: marks, statistics and leftovers."""
    end_ns = end_of(operations // WORKERS)
    submitted = outcomes.total()
    return [
        MarkLine("begun", BEGUN_NS),
        MarkLine("ended", end_ns - 20 * STEP_NS),
        StatisticsLine(Statistics(submitted=submitted, in_flight=0, outcomes=dict(outcomes))),
        MarkLine("close_began", end_ns - 10 * STEP_NS),
        MarkLine("close_ended", end_ns),
        LeftoversLine(Leftovers()),
        MarkLine("finished", end_ns),
    ]


def write_long_history(parent: Path, operations: int) -> RunFolder:
    """Write a run folder with a synthetic history and its journals, as a run would have written it."""
    folder = RunFolder.create(parent, INFO)
    encode = msgspec.json.Encoder().encode_lines
    journals: dict[str, list[Entry]] = defaultdict(list)
    outcomes: Counter[str] = Counter()
    items = happenings(operations)
    with folder.history.open("ab") as file:
        while some := list(itertools.islice(items, AT_ONCE)):
            lines: list[Line] = []
            for _, item in some:
                if isinstance(item, ServiceInterval):
                    journals[f"{item.pid}-{item.worker_id}.jsonl"] += _entries(item)
                elif isinstance(item, Op):
                    outcomes[item.outcome] += 1
                    lines.append(EndLine(End(index=item.index, **{name: getattr(item, name) for name in ENDS})))
                else:
                    lines.append(item)
            file.write(encode(lines))
            for name, entries in journals.items():
                with (folder.journal / name).open("ab") as journal:
                    journal.write(encode(entries))
            journals.clear()
        file.write(encode(last_lines(operations, outcomes)))
    return folder


def long_history(operations: int) -> History:
    """The same history as objects in memory."""
    ops: list[Op] = []
    events: list[Event] = []
    services: list[ServiceInterval] = []
    faults: list[FaultRecord] = []
    samples: list[Sample] = []
    for _, item in happenings(operations):
        match item:
            case Op():
                ops.append(item)
            case ServiceInterval():
                services.append(item)
            case EventLine(event):
                events.append(event)
            case FaultLine(fault):
                faults.append(fault)
            case SampleLine(sample):
                samples.append(sample)
            case _:
                pass  # the end of an operation has all of its fields
    end_ns = end_of(operations // WORKERS)
    outcomes = Counter(op.outcome for op in ops)
    return History(
        info=INFO,
        ops=Ops.of(sorted(ops, key=lambda op: op.index)),
        events=Events.of(events),
        services=Services.of(sorted(services, key=lambda service: service.start_ns)),
        faults=tuple(faults),
        samples=tuple(samples),
        leftovers=Leftovers(),
        statistics=Statistics(submitted=len(ops), in_flight=0, outcomes=dict(outcomes)),
        begun_ns=BEGUN_NS,
        ended_ns=end_ns - 20 * STEP_NS,
        close_began_ns=end_ns - 10 * STEP_NS,
        close_ended_ns=end_ns,
        finished=True,
    )


def _entries(service: ServiceInterval) -> Iterator[Entry]:
    begun = Entry(service.request_id, service.command, service.nonce, service.start_ns)
    yield begun
    if service.end_ns is not None:
        yield msgspec.structs.replace(begun, end_ns=service.end_ns, ok=service.ok)

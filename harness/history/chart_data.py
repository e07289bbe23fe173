"""Chart data of one run: its course over time, its distribution, its resource levels and notable calls.

Pure. Large histories are aggregated: every call is in some bucket, and what a list leaves out is counted beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np

from poolproof.harness.history.columns import NONE
from poolproof.harness.history.history import History, Op
from poolproof.harness.history.recovery import Recovery, recoveries
from poolproof.harness.history.tables import Ops
from poolproof.harness.model.checker import Finding
from poolproof.harness.model.fault import FaultRecord
from poolproof.harness.model.verdict import Verdict

MOST_STRETCHES = 400
"""Up to this many periods of work are drawn one by one; if there are more, each bucket of time gets a share of work."""
MOST_STEPS = 120
MOST_BUCKETS = 60
LEAST_BUCKETS = 10
CALLS_A_BUCKET = 5
SHARE_BUCKETS = 60
MOST_LANES = 16
OTHERS = -1
"""This number in place of a worker's id stands for all other workers together."""
MOST_LEVELS = 40
MOST_NOTED = 40
MOST_FAULTS = 60
SLOWEST = 5
_NAMED = re.compile(r"\b(?:call|operation) (\d+)\b")


class Step(msgspec.Struct, frozen=True, array_like=True):
    """A step of a cumulative distribution: `share` (0 to 1) of the calls took at most `ms` milliseconds."""

    ms: float
    share: float


class Flow(msgspec.Struct, frozen=True, array_like=True):
    """Counts of results and of other outcomes between two moments, in seconds of the run, and response times."""

    start_s: float
    end_s: float
    results: int
    others: int
    p50_ms: float | None
    max_ms: float | None


class Share(msgspec.Struct, frozen=True, array_like=True):
    """The share (0 to 1) of a bucket of time in which a worker was at work, and on how many calls."""

    worker: int
    start_s: float
    end_s: float
    share: float
    calls: int


class Level(msgspec.Struct, frozen=True, array_like=True):
    """What the run's process held at a moment: resident bytes, descriptors, threads and children."""

    at_s: float
    memory_bytes: int
    descriptors: int
    threads: int
    children: int


class Struck(msgspec.Struct, frozen=True, kw_only=True):
    """A fault and the recovery from it, in seconds since the run's begin; None: unknown."""

    kind: str
    at_s: float
    until_s: float | None = None
    landed: bool
    worker: int | None = None
    detail: str = ""


class Noted(msgspec.Struct, frozen=True, kw_only=True):
    """One notable call, and why it is notable. Times are seconds since the run's begin; None: not recorded."""

    index: int
    why: str
    client: int
    command: str
    label: str = ""
    session: str = ""
    worker: int | None = None
    pid: int | None = None
    outcome: str
    error: str = ""
    intended_s: float
    checked_out_s: float | None = None
    sent_s: float | None = None
    received_s: float | None = None
    completed_s: float | None = None


class ChartData(msgspec.Struct, frozen=True, kw_only=True):
    """The chart data of one run; empty where nothing was recorded. Seconds count from the run's begin.

    `offset_s` is the begin of the stretches in `Metrics.timeline`, and `stretches` their total number; `shares` replace
    them if there are more than `MOST_STRETCHES`. `notable` counts the notable calls, of which `noted` holds the first;
    `struck_total` counts the faults, of which `struck` holds the first.
    """

    steps: tuple[Step, ...] = ()
    flow: tuple[Flow, ...] = ()
    offset_s: float = 0.0
    stretches: int = 0
    shares: tuple[Share, ...] = ()
    levels: tuple[Level, ...] = ()
    levels_total: int = 0
    struck: tuple[Struck, ...] = ()
    struck_total: int = 0
    noted: tuple[Noted, ...] = ()
    notable: int = 0


def draw(history: History, findings: Sequence[Finding] = ()) -> ChartData:
    """Compute the chart data of a run; calls that `findings` name are the first notable ones."""
    begin_ns = _begin(history)
    if begin_ns is None:
        return ChartData()
    intervals = history.closed_intervals
    spans = list(zip(intervals.start_ns.tolist(), intervals.end_ns.tolist(), intervals.worker_id.tolist(), strict=True))
    struck = _struck(history.faults, recoveries(history), begin_ns)
    done = history.ops.take(history.ops.completed_ns != NONE)
    why = _why_noted(history.ops, findings)
    return ChartData(
        steps=_steps(((done.completed_ns - done.intended_ns) / 1e9).tolist()),
        flow=_flow(done, begin_ns),
        offset_s=round((spans[0][0] - begin_ns) / 1e9, 6) if spans else 0.0,
        stretches=len(spans),
        shares=_shares(spans, begin_ns) if len(spans) > MOST_STRETCHES else (),
        levels=_levels(history, begin_ns),
        levels_total=len(history.samples),
        struck=struck[:MOST_FAULTS],
        struck_total=len(struck),
        noted=tuple(_noted(history.ops[row], told, begin_ns) for row, told in list(why.items())[:MOST_NOTED]),
        notable=len(why),
    )


def _begin(history: History) -> int | None:
    if history.begun_ns is not None:
        return history.begun_ns
    return int(history.ops.intended_ns.min()) if len(history.ops) else None


def _steps(seconds: Sequence[float]) -> tuple[Step, ...]:
    # With few calls each call is a step; else the steps have equal shares, with more steps in the tails.
    ordered = sorted(seconds)
    total = len(ordered)
    if total <= MOST_STEPS:
        ranks: Iterable[int] = range(1, total + 1)
    else:
        even = (round(total * part / 100) for part in range(1, 101))
        tail = (round(total * part) for part in (0.001, 0.995, 0.999, 0.9999))
        ranks = sorted({1, total, *(rank for rank in (*even, *tail) if rank >= 1)})
    return tuple(Step(round(max(ordered[rank - 1] * 1e3, 0.001), 3), round(rank / total, 5)) for rank in ranks)


def _flow(done: Ops, begin_ns: int) -> tuple[Flow, ...]:
    if not len(done):
        return ()
    moments = (done.completed_ns - begin_ns).tolist()
    answered = done.outcome.are("result").tolist()
    took_ms = ((done.completed_ns - done.intended_ns) / 1e6).tolist()
    buckets = min(max(len(done) // CALLS_A_BUCKET, LEAST_BUCKETS), MOST_BUCKETS)
    width_ns = max(max(moments) // buckets + 1, 1_000_000)
    results, others = [0] * buckets, [0] * buckets
    times: list[list[float]] = [[] for _ in range(buckets)]
    for at, result, ms in zip(moments, answered, took_ms, strict=True):
        place = min(max(at, 0) // width_ns, buckets - 1)
        if result:
            results[place] += 1
        else:
            others[place] += 1
        times[place].append(ms)
    last = max(place for place in range(buckets) if times[place])
    found = []
    for place in range(last + 1):
        here = sorted(times[place])
        found.append(
            Flow(
                round(place * width_ns / 1e9, 6),
                round((place + 1) * width_ns / 1e9, 6),
                results[place],
                others[place],
                round(here[len(here) // 2], 3) if here else None,
                round(here[-1], 3) if here else None,
            )
        )
    return tuple(found)


def _shares(spans: Sequence[tuple[int, int, int]], begin_ns: int) -> tuple[Share, ...]:
    first = min(start for start, _, _ in spans)
    width = max((max(end for _, end, _ in spans) - first) // SHARE_BUCKETS + 1, 1)
    shown = set(sorted({worker for _, _, worker in spans})[:MOST_LANES])
    others = len({worker for _, _, worker in spans}) - len(shown)
    busy: dict[tuple[int, int], int] = {}
    calls: dict[tuple[int, int], int] = {}
    for start, end, worker in spans:
        lane = worker if worker in shown else OTHERS
        at = start
        key = (lane, (start - first) // width)
        calls[key] = calls.get(key, 0) + 1
        while at < end or at == start:
            place = (at - first) // width
            until = min(end, first + (place + 1) * width)
            busy[lane, place] = busy.get((lane, place), 0) + until - at
            if until <= at:
                break
            at = until
    return tuple(
        Share(
            lane,
            round((first - begin_ns + place * width) / 1e9, 6),
            round((first - begin_ns + (place + 1) * width) / 1e9, 6),
            round(min(busy[lane, place] / width / (others if lane == OTHERS else 1), 1.0), 4),
            calls.get((lane, place), 0),
        )
        for lane, place in sorted(busy)
    )


def _levels(history: History, begin_ns: int) -> tuple[Level, ...]:
    samples = history.samples
    step = max(1, -(-len(samples) // MOST_LEVELS))
    # Keeps the sample with the most memory of each group: a reader looks for peaks, and an average would hide them.
    kept = [max(samples[at : at + step], key=lambda one: one.memory_bytes) for at in range(0, len(samples), step)]
    return tuple(
        Level(round((one.at_ns - begin_ns) / 1e9, 4), one.memory_bytes, one.descriptors, one.threads, one.children)
        for one in kept
    )


def _struck(faults: Sequence[FaultRecord], healed: Sequence[Recovery], begin_ns: int) -> tuple[Struck, ...]:
    ends = {(one.kind, one.at_ns): one for one in healed}
    found = []
    for fault in sorted(faults, key=lambda fault: fault.at_ns):
        one = ends.get((fault.kind, fault.at_ns))
        took = None if one is None or one.first_ok_s is None or one.full_size_s is None else one
        at_s = (fault.at_ns - begin_ns) / 1e9
        until_s = None if took is None else round(at_s + max(took.first_ok_s or 0.0, took.full_size_s or 0.0), 6)
        found.append(
            Struck(
                kind=fault.kind.value,
                at_s=round(at_s, 6),
                until_s=until_s,
                landed=fault.landed,
                worker=fault.worker,
                detail=fault.detail[:200],
            )
        )
    return tuple(found)


def _why_noted(ops: Ops, findings: Sequence[Finding]) -> dict[int, str]:
    # By row: calls that findings name, then calls without a result, then the slowest calls.
    why: dict[int, list[str]] = {}
    rows = {index: row for row, index in enumerate(ops.index.tolist())}
    for finding in findings:
        if finding.verdict is not Verdict.PASS:
            for number in _NAMED.findall(" ".join(finding.examples)):
                if int(number) in rows:
                    why.setdefault(rows[int(number)], []).append(f"named by {finding.checker}")
    pending = ops.completed_ns == NONE
    for row in np.flatnonzero(~ops.outcome.are("result")).tolist():
        why.setdefault(row, []).append("pending" if pending[row] else "no result")
    done = np.flatnonzero(~pending)
    if len(done) > SLOWEST:
        took = (ops.completed_ns - ops.intended_ns)[done]
        for row in done[np.argsort(-took, kind="stable")][:SLOWEST].tolist():
            why.setdefault(row, []).append("slowest")
    return {row: ", ".join(dict.fromkeys(reasons)) for row, reasons in why.items()}


def _noted(op: Op, why: str, begin_ns: int) -> Noted:
    def moment(at_ns: int | None) -> float | None:
        return None if at_ns is None else round((at_ns - begin_ns) / 1e9, 6)

    return Noted(
        index=op.index,
        why=why,
        client=op.client,
        command=op.command,
        label=op.label,
        session=op.session or "",
        worker=op.worker,
        pid=op.pid,
        outcome=op.outcome,
        error=op.error[:300],
        intended_s=round((op.intended_ns - begin_ns) / 1e9, 6),
        checked_out_s=moment(op.checked_out_ns),
        sent_s=moment(op.sent_ns),
        received_s=moment(op.received_ns),
        completed_s=moment(op.completed_ns),
    )

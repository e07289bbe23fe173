"""Checks that waiting calls get idle workers at once, each offer is settled once, and workers are independent."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator, Sequence
from typing import ClassVar, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from poolproof.bridge import EventKind
from poolproof.harness.checkers.pools.leases import LEASE_ENDS, free_arrivals, same_as_before
from poolproof.harness.history.columns import NONE, Numbers, numbered, pick
from poolproof.harness.history.history import History
from poolproof.harness.model.checker import Finding, finding
from poolproof.harness.model.verdict import Verdict

IDLE_BEGINS = (EventKind.READY, EventKind.CHECKIN, EventKind.WITHDRAW)


Stretch: TypeAlias = tuple[int, int, int]
"""A period: its begin and its end in nanoseconds, and the id of the call or worker that it belongs to."""


def waits(history: History) -> tuple[Numbers, Numbers]:
    """Return begins and ends of the waits for any worker, by begin: from ENQUEUE until a grant or the call gives up."""
    came = free_arrivals(history)
    granted = history.granted_ns.of(came.call)
    ends = np.where(granted != NONE, granted, history.left_ns.of(came.call))
    return came.at_ns[ends != NONE], ends[ends != NONE]


def idle_stretches(history: History, longer_ns: int) -> list[Stretch]:
    """Return the stretches from READY, CHECKIN or a refused offer until the worker is offered, taken or ended.

    A stretch ends at the close at the latest. Stretches that last no longer than `longer_ns` are left out.
    """
    close_ns = history.close_began_ns
    events = history.events
    rows = history.step_rows(*EventKind)
    worker, at_ns, begins = events.worker[rows], events.at_ns[rows], events.kind.are(*IDLE_BEGINS)[rows]
    last = ~np.append(same_as_before(worker)[1:], False)[: len(rows)]
    never_ns = 0 if close_ns is None else close_ns  # without a close the end of the pool is unknown
    ends = np.where(last, never_ns, np.append(at_ns[1:], 0)[: len(rows)])
    idle = begins & ((ends - at_ns > longer_ns) | (last & (ends > 0)))
    if close_ns is not None:
        ends = np.minimum(ends, close_ns)
        idle &= at_ns < close_ns
    return sorted(zip(*(column[idle].tolist() for column in (at_ns, ends, worker)), strict=True))


def idle_beside(
    waiting: tuple[Numbers, Numbers], idle: Sequence[Stretch], longer_ns: int
) -> Iterator[tuple[Stretch, int]]:
    """Yield each idle stretch that shares more than `longer_ns` with one waiting call, and the shared nanoseconds."""
    begins, ends = waiting
    lasting = ends - begins > longer_ns
    long = list(zip(begins[lasting].tolist(), ends[lasting].tolist(), strict=True))
    starts = [start for start, _ in long]
    latest = list(itertools.accumulate((end for _, end in long), max))
    for stretch in idle:
        start, end, _ = stretch
        if end - start <= longer_ns:
            continue
        shared = 0
        before = bisect.bisect_right(starts, start)
        if before:
            shared = min(end, latest[before - 1]) - start
        if before < len(long):  # of the later waits, the first shares most or, if it ended early, enough
            shared = max(shared, min(end, long[before][1]) - long[before][0])
        if shared > longer_ns:
            yield stretch, shared


class WorkConserving(msgspec.Struct, frozen=True, kw_only=True):
    """No worker is idle for over `epsilon_s` seconds while one and the same call waits for any worker (G6).

    Calls of sessions do not count as waiting for any worker, since they may be bound to one worker.
    """

    epsilon_s: float
    name: str = "work_conserving"
    guarantees: tuple[str, ...] = ("G6",)
    needs_events: ClassVar[bool] = True

    def check(self, history: History) -> Finding:
        """Judge the waits (ENQUEUE to OFFER, ACCEPT, WITHDRAW or DONE) and the workers' idle times between leases."""
        waiting = waits(history)
        if not len(waiting[0]) or not history.events.kind.are(*IDLE_BEGINS).any():
            return finding(self, Verdict.UNKNOWN, "the events show no waiting call, or no idle worker")
        longer_ns = int(self.epsilon_s * 1e9)
        found = list(idle_beside(waiting, idle_stretches(history, longer_ns), longer_ns))
        longest_s = max((shared for _, shared in found), default=0) / 1e9
        if found:
            claim = f"{len(found)} times a worker stayed idle while a call waited; the longest time: {longest_s:.3f} s"
            told = [
                f"worker {stretch[2]} was idle for {shared / 1e9:.3f} s while a call waited"
                for stretch, shared in found
            ]
            return finding(self, Verdict.FAIL, claim, figures={"longest_s": round(longest_s, 4)}, examples=told)
        claim = f"no worker stayed idle for more than {self.epsilon_s:g} s while one of {len(waiting[0])} calls waited"
        return finding(self, Verdict.PASS, claim, figures={"waits": len(waiting[0])})


class HandOff(msgspec.Struct, frozen=True, kw_only=True):
    """Each offer of a worker ends in exactly one of accept and withdraw, unless the worker itself ended (G9).

    A checkin counts as an accept too: a call whose time is over may take its worker only to return it. WorkConserving
    decides whether a worker whose offer was refused is idle or offered again.
    """

    name: str = "hand_off"
    guarantees: tuple[str, ...] = ("G9",)
    needs_events: ClassVar[bool] = True

    def check(self, history: History) -> Finding:
        """Judge the run by the events of each pair of a call and a worker, in any order, up to the close."""
        close_ns = history.close_began_ns
        events = history.events
        if not events.kind.are(EventKind.OFFER).any():
            return finding(self, Verdict.UNKNOWN, "no worker was offered to a waiting call")
        in_time = np.ones(len(events), dtype=bool) if close_ns is None else events.at_ns < close_ns
        ended = events.worker[events.kind.are(EventKind.KILL, EventKind.REAP) & in_time]
        gave_up = events.call[events.kind.are(EventKind.WITHDRAW)]
        done = events.call[events.kind.are(EventKind.DONE) & in_time]
        chosen = events.kind.are(EventKind.OFFER, EventKind.ACCEPT, EventKind.WITHDRAW, EventKind.CHECKIN)
        chosen &= np.isin(events.call, events.call[events.kind.are(EventKind.OFFER)])  # others had no offer
        steps = events.take(chosen)
        pair = numbered(steps.call, steps.worker)
        first = np.unique(pair, return_index=True)[1]
        pairs = steps.take(first)  # one step of each pair
        offered, accepted, withdrawn, given_back = (
            np.bincount(pair[steps.kind.are(kind)], minlength=len(first))
            for kind in (EventKind.OFFER, EventKind.ACCEPT, EventKind.WITHDRAW, EventKind.CHECKIN)
        )
        over = (offered > 0) & (accepted + withdrawn > offered)
        open_ = (offered > 0) & (accepted + withdrawn + given_back == 0)
        open_ &= ~np.isin(pairs.call, gave_up) & ~np.isin(pairs.worker, ended) & np.isin(pairs.call, done)
        wrong = []
        for place in np.flatnonzero(over | open_).tolist():
            told = f"worker {pairs[place].worker} was offered to pool call {pairs[place].call}"
            if over[place]:
                told += (
                    f" {offered[place]} times, and these offers were accepted {accepted[place]} times and "
                    f"withdrawn {withdrawn[place]} times"
                )
            else:
                told += ", and the offer was neither accepted nor withdrawn"
            wrong.append(told)
        offers = int(offered.sum())
        figures: dict[str, float | int | str] = {"offers": offers}
        if wrong:
            return finding(
                self,
                Verdict.FAIL,
                f"{len(wrong)} offers of a worker did not end in exactly one of accept and withdraw",
                figures=figures,
                examples=wrong,
            )
        claim = f"each of {offers} offers of a worker was either accepted or withdrawn, exactly once"
        return finding(self, Verdict.PASS, claim, figures=figures)


class Independence(msgspec.Struct, frozen=True, kw_only=True):
    """While a worker is stuck, stopped or dying, no call on another worker is delayed by `epsilon_s` or more (G10).

    A worker counts as stuck from a fault that landed on it, and during a lease that lasts `stuck_s` or more. The delay
    of a call on another worker is the time of its lease in which that worker's journal shows no work on the call, plus
    the time for which the call waited while a worker was idle.
    """

    epsilon_s: float
    stuck_s: float = 0.2
    name: str = "independence"
    guarantees: tuple[str, ...] = ("G10",)
    needs_events: ClassVar[bool] = True

    def check(self, history: History) -> Finding:
        """Judge the run by faults, leases, journals, and the operations' own times."""
        stuck = sorted(_stuck(history, int(self.stuck_s * 1e9)))
        if not stuck:
            return finding(self, Verdict.UNKNOWN, "no worker was stuck, stopped or dying")
        beside_one_of = _Beside(stuck)
        limit_ns = int(self.epsilon_s * 1e9)
        wrong: list[str] = []
        beside, most = 0, 0
        ops, services = history.ops, history.services
        work = history.serving
        own_ns = pick(services.end_ns - services.start_ns, work, 0)
        judged = (work >= 0) & (pick(services.end_ns, work, NONE) != NONE)
        judged &= ops.session.are(None)  # a call of a session may have to wait for a handover
        judged &= (ops.checked_out_ns != NONE) & (ops.completed_ns != NONE)
        judged &= beside_one_of.perhaps(ops.checked_out_ns, ops.completed_ns)
        for op, own in zip(ops.take(judged), own_ns[judged].tolist(), strict=True):
            if op.checked_out_ns is None or op.completed_ns is None:
                continue
            if not beside_one_of(op.worker, op.checked_out_ns, op.completed_ns):
                continue
            beside += 1
            delay = op.completed_ns - op.checked_out_ns - own
            most = max(most, delay)
            if delay >= limit_ns:
                wrong.append(
                    f"call {op.index} on worker {op.worker} was delayed by {delay / 1e9:.3f} s while "
                    "another worker was stuck"
                )
        for stretch, shared in idle_beside(waits(history), idle_stretches(history, limit_ns), limit_ns):
            if beside_one_of(stretch[2], stretch[0], stretch[1]):
                wrong.append(
                    f"a call waited for {shared / 1e9:.3f} s although worker {stretch[2]} was idle, "
                    "while another worker was stuck"
                )
        figures: dict[str, float | int | str] = {"stuck": len(stuck), "beside": beside, "most_s": round(most / 1e9, 4)}
        if wrong:
            claim = f"{len(wrong)} calls were delayed by a stuck worker, although another worker could serve them"
            return finding(self, Verdict.FAIL, claim, figures=figures, examples=wrong)
        if not beside:
            return finding(self, Verdict.UNKNOWN, "no call was served while another worker was stuck", figures=figures)
        claim = (
            f"{beside} calls on other workers, while {len(stuck)} workers were stuck, were delayed by at "
            f"most {most / 1e9:.3f} s"
        )
        return finding(self, Verdict.PASS, claim, figures=figures)


def _stuck(history: History, longer_ns: int) -> Iterator[Stretch]:
    faults = {fault.worker: fault.at_ns for fault in history.faults if fault.landed and fault.worker is not None}
    steps = history.steps(EventKind.ACCEPT, *LEASE_ENDS)
    taken = steps.kind.are(EventKind.ACCEPT)
    ends = np.flatnonzero(same_as_before(steps.worker) & ~taken & np.append(False, taken)[: len(steps)])
    lasting = steps.at_ns[ends] - steps.at_ns[ends - 1] >= longer_ns
    ends = ends[lasting | np.isin(steps.worker[ends], list(faults))]
    for worker, start, end in zip(
        steps.worker[ends].tolist(), steps.at_ns[ends - 1].tolist(), steps.at_ns[ends].tolist(), strict=True
    ):
        struck = faults.get(worker)
        if struck is not None and start <= struck <= end:
            yield struck, end, worker
        elif end - start >= longer_ns:
            yield start, end, worker


class _Beside:
    """Finds whether stretches of other workers overlap a given stretch; the stretches are sorted."""

    def __init__(self, stretches: Sequence[Stretch]) -> None:
        self._stretches = stretches
        self._starts = [start for start, _, _ in stretches]
        self._latest = list(itertools.accumulate((end for _, end, _ in stretches), max))

    def perhaps(self, starts: Numbers, ends: Numbers) -> NDArray[np.bool_]:
        """Return which of the given stretches overlap any stretch at all, and so perhaps one of another worker."""
        place = np.searchsorted(self._starts, ends) - 1
        return (place >= 0) & (np.array(self._latest)[place] > starts)

    def __call__(self, worker: int | None, start: int, end: int) -> bool:
        for place in range(bisect.bisect_left(self._starts, end) - 1, -1, -1):
            if self._latest[place] <= start:
                return False  # neither this stretch nor any before it lasted until then
            _, until, who = self._stretches[place]
            if who != worker and until > start:
                return True
        return False

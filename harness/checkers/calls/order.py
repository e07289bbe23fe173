"""Checks that calls outside sessions are served in the order in which they were queued."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from poolproof.bridge import EventKind
from poolproof.harness.checkers.calls.waiting import idle_stretches
from poolproof.harness.checkers.pools.leases import free_arrivals
from poolproof.harness.history.columns import NONE, Numbers, find_last, last_where, order_by, pick
from poolproof.harness.history.history import History
from poolproof.harness.model.checker import Finding, finding
from poolproof.harness.model.verdict import Verdict

NEVER_NS = 1 << 62
REFUSED = frozenset({"QueueFull", "CircuitOpen"})
"""Outcomes of calls that never had a place in the queue, however late their clients came to ask for one."""


class Fifo(msgspec.Struct, frozen=True, kw_only=True):
    """Calls outside sessions get workers in the order in which the calls were queued (G7).

    A call is overtaken if it certainly had its place in the queue before another call came, and its worker was
    certainly not free when the other call got a worker. A pool's OFFER says since when the call had its place. A worker
    is free at the earliest when it was last checked in. For pools that do not report the place in the queue, the wait
    is from ENQUEUE to OFFER or ACCEPT, and a call is overtaken only if both the arrivals and the grants differ by more
    than `slack_s`; a busy machine may delay a client by more than that.

    A call that gave up before it had a worker was overtaken by a call that came later and got a worker while the first
    still waited. The first call counts as waiting until its own limit at the latest, since after that it need not be
    served. A call that came while a worker was idle had no place in the queue: WorkConserving decides on its wait. Nor
    had a call that was refused.
    """

    slack_s: float = 0.002
    name: str = "fifo"
    guarantees: tuple[str, ...] = ("G7",)
    needs_events: ClassVar[bool] = True

    def check(self, history: History) -> Finding:
        """Judge each wait: from the event ENQUEUE to a grant (the first OFFER or ACCEPT), or to WITHDRAW or DONE."""
        waits = self._waits(history)
        if int(waits.granted.sum()) < 2:
            return finding(self, Verdict.UNKNOWN, "fewer than two calls got a worker, so no order can be checked")
        slack_ns = int(self.slack_s * 1e9)
        # From each place on, the first grant of all calls that came later; a call whose wait lasted longer was
        # overtaken.
        grants = np.append(np.where(waits.granted, waits.ends, NEVER_NS), NEVER_NS)
        first = np.minimum.accumulate(grants[::-1])[::-1]
        whose = np.minimum.accumulate(np.where(grants == first, np.arange(len(grants)), len(grants))[::-1])[::-1]
        place = np.searchsorted(waits.came, waits.queued, side="right")
        overtaken = np.flatnonzero(first[place] + slack_ns < waits.free)
        by = whose[place[overtaken]]
        ms = (waits.came[by] - waits.came[overtaken]) / 1e6
        wrong = [
            f"pool call {later} got a worker before pool call {call}, which had entered the queue {before:.1f} "
            "ms earlier"
            for later, call, before in zip(waits.call[by], waits.call[overtaken], ms, strict=True)
        ]
        if wrong:
            return finding(
                self, Verdict.FAIL, f"{len(wrong)} calls were overtaken in the queue by a later call", examples=wrong
            )
        return finding(self, Verdict.PASS, f"{len(waits.call)} calls were served in the order of their arrival")

    def _waits(self, history: History) -> _Waits:
        came = free_arrivals(history)
        granted, left = history.granted_ns.of(came.call), history.left_ns.of(came.call)
        ops = history.ops
        op = find_last((came.call,), (ops.call,))
        limit_ns = pick(ops.invoked_ns + (history.patience_s(ops) * 1e9).astype(np.int64), op, NEVER_NS)
        ends = np.where(granted != NONE, granted, np.minimum(left, limit_ns))
        queued = history.queued_ns.of(came.call)
        slow = came.at_ns + int(self.slack_s * 1e9)
        free = ends
        if (queued != NONE).any():
            # A call that got a worker without an offer never had a place in the queue.
            queued = np.where(queued != NONE, queued, np.where(granted != NONE, granted, slow))
            free = np.where(granted != NONE, _free_since(history, came.call, granted), ends)
        else:
            queued = np.where(_was_idle(history, came.at_ns), ends, slow)
        done = history.events.kind.are(EventKind.DONE) & history.events.detail.are(*REFUSED)
        known = (ends != NONE) & ~np.isin(came.call, history.events.call[done])
        return _Waits(*(column[known] for column in (came.call, came.at_ns, queued, free, ends, granted != NONE)))


class _Waits(NamedTuple):
    """Waiting calls, sorted by `came`.

    For each call: when it came at the earliest, when it had a place in the queue at the latest, when its worker was
    free at the earliest, and when the wait ended, with a grant or without.
    """

    call: Numbers
    came: Numbers
    queued: Numbers
    free: Numbers
    ends: Numbers
    granted: NDArray[np.bool_]


def _free_since(history: History, calls: Numbers, moments: Numbers) -> Numbers:
    # When the worker of each call was last checked in before the grant; NONE if it never was.
    given = history.events.take(history.events.kind.are(EventKind.OFFER, EventKind.ACCEPT))
    given = given.take(order_by(-given.at_ns))
    workers = pick(given.worker, find_last((calls,), (given.call,)), NONE)
    back = history.steps(EventKind.CHECKIN)
    who, when = np.concatenate((back.worker, workers)), np.concatenate((back.at_ns, moments))
    order = order_by(who, when)
    last = last_where(order < len(back))
    latest = order[last]
    found = np.empty(len(who), dtype=np.int64)
    found[order] = np.where((last >= 0) & (who[latest] == who[order]), when[latest], NONE)
    return found[len(back) :]


def _was_idle(history: History, moments: Numbers) -> NDArray[np.bool_]:
    # Whether some worker was idle at each moment.
    stretches = idle_stretches(history, 0)
    begins = np.array([begin for begin, _, _ in stretches], dtype=np.int64)
    ends = np.sort(np.array([end for _, end, _ in stretches], dtype=np.int64))
    return np.searchsorted(begins, moments, side="right") > np.searchsorted(ends, moments, side="right")

"""Whether a worker serves one call at a time, at most once, and never after an exchange that broke off."""

from __future__ import annotations

import bisect
from collections.abc import Iterator

import msgspec
import numpy as np
from numpy.typing import NDArray

from bridge import EventKind
from harness.checker import Finding, finding
from harness.columns import NONE, Numbers, find_last, last_where, order_by, pick, repeated
from harness.history import History, OpType
from harness.tables import Events
from harness.verdict import Verdict

NEVER_NS = 1 << 63
LEASE_ENDS = (EventKind.CHECKIN, EventKind.KILL, EventKind.REAP)


def same_as_before(column: Numbers) -> NDArray[np.bool_]:
    """Where a row has the value of the row before it; never in the first."""
    same = np.zeros(len(column), dtype=bool)
    same[1:] = column[1:] == column[:-1]
    return same


def free_arrivals(history: History) -> Events:
    """ENQUEUE of the calls that any worker may serve, in order of time.

    Calls of sessions are left out, since they may wait for one worker alone, and so are those on a held lease.
    """
    came = history.events_by_kind[EventKind.ENQUEUE]
    bound = history.ops.call[~history.ops.session.are(None)]
    return came.take((came.call != NONE) & (came.worker == NONE) & ~np.isin(came.call, bound))


class ExclusiveLease(msgspec.Struct, frozen=True, kw_only=True):
    """Leases of one worker never overlap, and neither does what its own journal says it worked on (G2)."""

    name: str = "exclusive_lease"
    guarantees: tuple[str, ...] = ("G2",)

    def check(self, history: History) -> Finding:
        """Decide from the pool's events and the workers' journals."""
        steps = history.steps(EventKind.ACCEPT, *LEASE_ENDS)
        taken = steps.kind.are(EventKind.ACCEPT)
        # The checkin of another call than the one that was given the worker ends no lease.
        given = last_where(taken)
        strange = steps.kind.are(EventKind.CHECKIN) & (pick(steps.call, given, NONE) != steps.call)
        steps = steps.take(~strange)
        taken = steps.kind.are(EventKind.ACCEPT)
        held = same_as_before(steps.worker) & np.append(False, taken & (steps.call != NONE))[: len(steps)]
        leases = int(taken.sum())
        wrong = [
            f"worker {worker} was given to call {call} while call {holder} held it"
            for worker, call, holder in pairs_at(taken & held, steps.worker, steps.call)
        ]
        served = history.closed_intervals
        served = served.take(order_by(served.pid, served.start_ns, served.end_ns))
        both = same_as_before(served.pid) & (served.start_ns < np.append(0, served.end_ns)[: len(served)])
        wrong += [
            f"process {pid} worked on the requests {one} and {other} at the same time"
            for pid, other, one in pairs_at(both, served.pid, served.request_id)
        ]
        decided = leases + len(served)
        if wrong:
            return finding(self, Verdict.FAIL, f"{len(wrong)} overlaps on one worker", examples=wrong)
        if not decided:
            return finding(self, Verdict.UNKNOWN, "no lease and no work of a worker was recorded")
        return finding(self, Verdict.PASS, f"{leases} leases, none overlapping", figures={"leases": leases})


class AtMostOnce(msgspec.Struct, frozen=True, kw_only=True):
    """No request is sent twice, and no nonce is served twice (G4).

    One repetition is meant: a handover repeats what a session's client has an answer to, on another worker.
    """

    name: str = "at_most_once"
    guarantees: tuple[str, ...] = ("G4",)

    def check(self, history: History) -> Finding:
        """Decide from the pool's SEND events and the workers' journals."""
        events, ops, services = history.events, history.ops, history.services
        sent = events.call[events.kind.are(EventKind.SEND)]
        answered = ops.take(~ops.session.are(None) & ops.type.are(OpType.OK) & (ops.completed_ns != NONE))
        answer = find_last((services.nonce.codes_in(ops.nonce),), (answered.nonce.codes,))
        before = (answer < 0) | (services.start_ns < pick(answered.completed_ns, answer, 0))
        served = services.nonce.codes[before & ~services.nonce.are(None)]
        wrong = [
            f"call {None if call == NONE else call} was sent {count} times" for call, count in repeated(sent).items()
        ]
        words = services.nonce.words
        wrong += [f"the request {words[code]} was served {count} times" for code, count in repeated(served).items()]
        if wrong:
            return finding(self, Verdict.FAIL, f"{len(wrong)} requests went out more than once", examples=wrong)
        seen = max(len(sent), len(served))
        if not seen:
            return finding(self, Verdict.UNKNOWN, "no request was seen to be sent or served")
        return finding(self, Verdict.PASS, f"{seen} requests, each sent at most once")


def pairs_at(rows: NDArray[np.bool_], who: Numbers, what: Numbers) -> Iterator[tuple[int, int, int]]:
    """At each of these rows: who, what, and what the row before it has."""
    places = np.flatnonzero(rows)
    yield from zip(who[places].tolist(), what[places].tolist(), what[places - 1].tolist(), strict=True)


class CleanWorkers(msgspec.Struct, frozen=True, kw_only=True):
    """A worker whose exchange broke off between send and receive is never given to anybody again (G5)."""

    name: str = "clean_workers"
    guarantees: tuple[str, ...] = ("G5",)

    def check(self, history: History) -> Finding:
        """Decide from the pool's events."""
        steps = history.steps(EventKind.ACCEPT, EventKind.SEND, EventKind.RECEIVE)
        outstanding = steps.kind.are(EventKind.SEND) & (steps.call != NONE)
        again = same_as_before(steps.worker) & np.append(False, outstanding)[: len(steps)]
        again &= steps.kind.are(EventKind.ACCEPT)
        last = ~np.append(same_as_before(steps.worker)[1:], False)[: len(steps)]
        broken = int((outstanding & last).sum())
        wrong = [
            f"worker {worker} was given to call {call}; call {other} had no answer"
            for worker, call, other in pairs_at(again, steps.worker, steps.call)
        ]
        if wrong:
            return finding(self, Verdict.FAIL, f"{len(wrong)} dirty workers were used again", examples=wrong)
        if not len(steps):
            return finding(self, Verdict.UNKNOWN, "the pool told of no lease")
        return finding(
            self,
            Verdict.PASS,
            f"no worker was used after a break; {broken} broke",
            figures={"broken": broken},
        )


class Fifo(msgspec.Struct, frozen=True, kw_only=True):
    """Calls outside sessions get workers in the order of their arrival, if that differs by `slack_s` or more (G7).

    A call that gave up before it had a worker was overtaken by what came after it and had one while it still waited.
    It counts as waiting until its own limit at the latest, since after that it need not be served.
    """

    slack_s: float = 0.002
    name: str = "fifo"
    guarantees: tuple[str, ...] = ("G7",)

    def check(self, history: History) -> Finding:
        """Decide from ENQUEUE to the grant, which is OFFER or ACCEPT, whichever came first, or to WITHDRAW or DONE."""
        order = self._order(history)
        if sum(granted for _, _, granted, _ in order) < 2:
            return finding(self, Verdict.UNKNOWN, "fewer than two calls were given a worker")
        slack_ns = int(self.slack_s * 1e9)
        # The first grant of all that came later, from each place on; an end after that was overtaken.
        first: list[tuple[int, int]] = [(NEVER_NS, -1)]
        for place in range(len(order) - 1, -1, -1):
            _, end, granted, _ = order[place]
            first.append(min(first[-1], (end, place)) if granted else first[-1])
        first.reverse()
        came = [arrival for arrival, _, _, _ in order]
        wrong: list[str] = []
        for arrival, end, _, call in order:
            grant, place = first[bisect.bisect_right(came, arrival + slack_ns)]
            if grant + slack_ns < end:
                later_came, _, _, later = order[place]
                wrong.append(
                    f"call {later} overtook call {call}, which came {(later_came - arrival) / 1e6:.1f} ms before"
                )
        if wrong:
            return finding(self, Verdict.FAIL, f"{len(wrong)} calls were overtaken", examples=wrong)
        return finding(self, Verdict.PASS, f"{len(order)} calls were served in the order of their arrival")

    def _order(self, history: History) -> list[tuple[int, int, bool, int]]:
        # (arrival, end of the wait, whether by a grant, call), by arrival.
        came = free_arrivals(history)
        granted, left = history.granted_ns.of(came.call), history.left_ns.of(came.call)
        ops = history.ops
        op = find_last((came.call,), (ops.call,))
        if len(ops):
            limit_ns = ops.invoked_ns + (history.patience_s(ops) * 1e9).astype(np.int64)
            left = np.where((op >= 0) & (left != NONE), np.minimum(left, limit_ns[op]), left)
        ends = np.where(granted != NONE, granted, left)
        known = ends != NONE
        columns = (came.at_ns, ends, granted != NONE, came.call)
        return sorted(zip(*(column[known].tolist() for column in columns), strict=True))

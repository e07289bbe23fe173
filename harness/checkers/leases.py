"""Whether a worker serves one call at a time, at most once, and never after an exchange that broke off."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Sequence

import msgspec

from bridge import Event, EventKind
from harness.checker import Finding, finding
from harness.history import History, OpType
from harness.overlap import closed_intervals
from harness.verdict import Verdict

NEVER_NS = 1 << 63
LEASE_ENDS = (EventKind.CHECKIN, EventKind.KILL, EventKind.REAP)


def events_of_workers(history: History, *kinds: EventKind) -> dict[int, list[Event]]:
    """The events of these kinds for each worker, in order of time; of one moment, in the order of their recording."""
    found = {}
    for worker, events in history.events_by_worker.items():
        chosen = [event for event in events if event.kind in kinds]
        if chosen:
            found[worker] = chosen
    return found


class ExclusiveLease(msgspec.Struct, frozen=True, kw_only=True):
    """Leases of one worker never overlap, and neither does what its own journal says it worked on (G2)."""

    name: str = "exclusive_lease"
    guarantees: tuple[str, ...] = ("G2",)

    def check(self, history: History) -> Finding:
        """Decide from the pool's events and the workers' journals."""
        wrong: list[str] = []
        leases = 0
        for worker, events in events_of_workers(history, EventKind.ACCEPT, *LEASE_ENDS).items():
            holder: int | None = None
            for event in events:
                if event.kind is not EventKind.ACCEPT:
                    if event.kind is not EventKind.CHECKIN or event.call == holder:
                        holder = None
                    continue
                leases += 1
                if holder is not None:
                    wrong.append(f"worker {worker} was given to call {event.call} while call {holder} held it")
                holder = event.call
        last: dict[int, tuple[int, int]] = {}
        served = 0
        for start, end, interval in closed_intervals(history):
            served += 1
            ended, one = last.get(interval.pid, (start, 0))
            if start < ended:
                other = interval.request_id
                wrong.append(f"process {interval.pid} worked on the requests {one} and {other} at the same time")
            last[interval.pid] = end, interval.request_id
        decided = leases + served
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
        sends = _repeated([event.call for event in history.events_by_kind[EventKind.SEND]])
        answered = {op.nonce: op.completed_ns for op in history.ops if op.session is not None and op.type is OpType.OK}
        served = [
            s.nonce
            for s in history.services
            if s.nonce is not None and (not answered or s.start_ns < (answered.get(str(s.nonce)) or s.start_ns + 1))
        ]
        nonces = _repeated(served)
        wrong = [f"call {call} was sent {count} times" for call, count in sends.items()]
        wrong += [f"the request {nonce} was served {count} times" for nonce, count in nonces.items()]
        if wrong:
            return finding(self, Verdict.FAIL, f"{len(wrong)} requests went out more than once", examples=wrong)
        seen = max(len(history.events_by_kind[EventKind.SEND]), len(served))
        if not seen:
            return finding(self, Verdict.UNKNOWN, "no request was seen to be sent or served")
        return finding(self, Verdict.PASS, f"{seen} requests, each sent at most once")


def _repeated(names: Sequence[int | str | None]) -> dict[int | str | None, int]:
    # How often those occur that occur more than once.
    if len(set(names)) == len(names):
        return {}
    return {name: count for name, count in Counter(names).items() if count > 1}


class CleanWorkers(msgspec.Struct, frozen=True, kw_only=True):
    """A worker whose exchange broke off between send and receive is never given to anybody again (G5)."""

    name: str = "clean_workers"
    guarantees: tuple[str, ...] = ("G5",)

    def check(self, history: History) -> Finding:
        """Decide from the pool's events."""
        kinds = (EventKind.ACCEPT, EventKind.SEND, EventKind.RECEIVE)
        per_worker = events_of_workers(history, *kinds)
        wrong: list[str] = []
        broken = 0
        for worker, events in per_worker.items():
            outstanding: int | None = None
            for event in events:
                if event.kind is EventKind.SEND:
                    outstanding = event.call
                elif event.kind is EventKind.RECEIVE:
                    outstanding = None
                elif outstanding is not None:
                    wrong.append(f"worker {worker} was given to call {event.call}; call {outstanding} had no answer")
                    outstanding = None
            broken += outstanding is not None
        if wrong:
            return finding(self, Verdict.FAIL, f"{len(wrong)} dirty workers were used again", examples=wrong)
        if not per_worker:
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
        grants = history.granted_ns
        ends = dict(history.left_ns)
        sessions: set[int | None] = set()
        for op in history.ops:
            if op.session is not None:
                sessions.add(op.call)
            elif op.call in ends and op.call not in grants:
                limit_s = history.info.call_timeout_s if op.timeout_s is None else op.timeout_s
                patience_s = op.checkout_timeout_s
                limit_s = min(limit_s, history.info.checkout_timeout_s if patience_s is None else patience_s)
                ends[op.call] = min(ends[op.call], op.invoked_ns + int(limit_s * 1e9))
        order = []
        for event in history.events_by_kind[EventKind.ENQUEUE]:
            call = event.call
            if call is None or call in sessions or event.worker is not None:
                continue
            if call in grants:
                order.append((event.at_ns, grants[call], True, call))
            elif call in ends:
                order.append((event.at_ns, ends[call], False, call))
        return sorted(order)

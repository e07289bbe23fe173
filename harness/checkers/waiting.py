"""Whether waiting calls and idle workers find each other: at once, each once, and whatever other workers do."""

from __future__ import annotations

import bisect
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import msgspec

from bridge import Event, EventKind
from harness.checker import Finding, finding
from harness.checkers.leases import LEASE_ENDS, events_of_workers
from harness.history import History
from harness.verdict import Verdict

IDLE_BEGINS = (EventKind.READY, EventKind.CHECKIN, EventKind.WITHDRAW)


Stretch: TypeAlias = tuple[int, int, int]
"""The begin and the end, in nanoseconds, and the call or the worker."""


def waits(history: History) -> list[Stretch]:
    """From ENQUEUE until the call has a worker or gave up, by begin.

    Calls of sessions are left out, since they may wait for one worker alone, and so are those on a held lease.
    """
    granted, left = history.granted_ns, history.left_ns
    bound = {op.call for op in history.ops if op.session is not None}
    found = []
    for event in history.events_by_kind[EventKind.ENQUEUE]:
        call = event.call
        if call is None or event.worker is not None or call in bound:
            continue
        end = granted.get(call, left.get(call))
        if end is not None:
            found.append((event.at_ns, end, call))
    return found


def idle_stretches(history: History, longer_ns: int) -> list[Stretch]:
    """From READY, CHECKIN or a refused offer until the worker is offered, taken or ended; at most until the close.

    Those that last no longer than `longer_ns` are left out.
    """
    close_ns = history.close_began_ns
    found: list[Stretch] = []
    for worker, events in history.events_by_worker.items():
        for one, other in itertools.pairwise(events):
            if other.at_ns - one.at_ns > longer_ns and one.kind in IDLE_BEGINS:
                found.append((one.at_ns, other.at_ns, worker))
        last = events[-1]
        if last.kind in IDLE_BEGINS and close_ns is not None:
            found.append((last.at_ns, close_ns, worker))
    if close_ns is not None:
        found = [(start, min(end, close_ns), worker) for start, end, worker in found if start < close_ns]
    return sorted(found)


def idle_beside(waiting: Sequence[Stretch], idle: Sequence[Stretch], longer_ns: int) -> Iterator[tuple[Stretch, int]]:
    """Of each idle stretch that shares more than `longer_ns` with one waiting call: it, and how long they share."""
    long = [(start, end) for start, end, _ in waiting if end - start > longer_ns]
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
        if before < len(long):  # of those that came later, the first shares most or, if it went early, enough
            shared = max(shared, min(end, long[before][1]) - long[before][0])
        if shared > longer_ns:
            yield stretch, shared


class WorkConserving(msgspec.Struct, frozen=True, kw_only=True):
    """No worker is idle for over `epsilon_s` seconds while one and the same call waits for any worker (G6).

    Calls of sessions count as nobody's waiters, since they may be bound to a worker.
    """

    epsilon_s: float
    name: str = "work_conserving"
    guarantees: tuple[str, ...] = ("G6",)

    def check(self, history: History) -> Finding:
        """Decide from ENQUEUE to OFFER, ACCEPT, WITHDRAW or DONE, and from READY or CHECKIN to the next lease."""
        waiting = waits(history)
        if not waiting or not any(history.events_by_kind[kind] for kind in IDLE_BEGINS):
            return finding(self, Verdict.UNKNOWN, "no call was seen to wait, or no worker to be idle")
        longer_ns = int(self.epsilon_s * 1e9)
        found = list(idle_beside(waiting, idle_stretches(history, longer_ns), longer_ns))
        longest_s = max((shared for _, shared in found), default=0) / 1e9
        if found:
            claim = f"{len(found)} times a worker was idle beside a waiting call; the longest: {longest_s:.3f} s"
            told = [
                f"worker {stretch[2]} was idle for {shared / 1e9:.3f} s while a call waited"
                for stretch, shared in found
            ]
            return finding(self, Verdict.FAIL, claim, figures={"longest_s": round(longest_s, 4)}, examples=told)
        claim = f"no worker was idle for over {self.epsilon_s:g} s while one of {len(waiting)} calls waited"
        return finding(self, Verdict.PASS, claim, figures={"waits": len(waiting)})


class HandOff(msgspec.Struct, frozen=True, kw_only=True):
    """Each offer of a worker ends in exactly one of accept and withdraw, unless the worker itself ended (G9).

    A checkin tells of an accept too: a call may take its worker only to give it back, since its time is over. That a
    worker that was refused is idle or offered again is for WorkConserving to decide.
    """

    name: str = "hand_off"
    guarantees: tuple[str, ...] = ("G9",)

    def check(self, history: History) -> Finding:
        """Decide from the events of each pair of a call and a worker, up to the close; their order is not needed."""
        close_ns = history.close_began_ns
        offers = Counter((event.call, event.worker) for event in history.events_by_kind[EventKind.OFFER])
        if not offers:
            return finding(self, Verdict.UNKNOWN, "no worker was offered to a waiting call")
        counts = {
            kind: Counter((event.call, event.worker) for event in history.events_by_kind[kind])
            for kind in (EventKind.ACCEPT, EventKind.WITHDRAW, EventKind.CHECKIN)
        }
        ended = {
            event.worker
            for kind in (EventKind.KILL, EventKind.REAP)
            for event in history.events_by_kind[kind]
            if close_ns is None or event.at_ns < close_ns
        }
        gave_up = {event.call for event in history.events_by_kind[EventKind.WITHDRAW]}
        done = {
            event.call for event in history.events_by_kind[EventKind.DONE] if close_ns is None or event.at_ns < close_ns
        }
        wrong = []
        for pair, offered in offers.items():
            call, worker = pair
            accepted, withdrawn = counts[EventKind.ACCEPT][pair], counts[EventKind.WITHDRAW][pair]
            told = f"worker {worker} was offered to call {call}"
            if accepted + withdrawn > offered:
                wrong.append(f"{told} {offered} times, accepted {accepted} and withdrawn {withdrawn} times")
            elif not (accepted + withdrawn or counts[EventKind.CHECKIN][pair] or call in gave_up or worker in ended):
                wrong += [f"{told}, neither accepted nor withdrawn"] * (call in done)
        figures: dict[str, float | int | str] = {"offers": offers.total()}
        if wrong:
            return finding(self, Verdict.FAIL, f"{len(wrong)} hand-offs went wrong", figures=figures, examples=wrong)
        claim = f"each of {offers.total()} offers was accepted or withdrawn, and once"
        return finding(self, Verdict.PASS, claim, figures=figures)


class Independence(msgspec.Struct, frozen=True, kw_only=True):
    """While a worker is stuck, stopped or dying, no call is delayed on the others by `epsilon_s` seconds or more (G10).

    A worker counts as stuck from a fault that landed on it, and in a lease that lasts `stuck_s` or more. The delay of
    a call beside it is its time with a worker that this one was not at work for, by its journal; and the time for
    which it waited beside an idle worker.
    """

    epsilon_s: float
    stuck_s: float = 0.2
    name: str = "independence"
    guarantees: tuple[str, ...] = ("G10",)

    def check(self, history: History) -> Finding:
        """Decide from faults and leases, the journals, and the operations' own times."""
        stuck = sorted(_stuck(history, int(self.stuck_s * 1e9)))
        if not stuck:
            return finding(self, Verdict.UNKNOWN, "no worker was stuck, stopped or dying")
        beside_one_of = _Beside(stuck)
        worked = {(s.pid, s.request_id): (s.start_ns, s.end_ns) for s in history.services if s.end_ns is not None}
        limit_ns = int(self.epsilon_s * 1e9)
        wrong: list[str] = []
        beside, most = 0, 0
        for op in history.ops:
            if op.session is not None or op.pid is None or op.call is None:
                continue  # a call of a session may have a handover to wait for
            if op.checked_out_ns is None or op.completed_ns is None:
                continue
            own = worked.get((op.pid, op.call))
            if own is None or own[1] is None or not beside_one_of(op.worker, op.checked_out_ns, op.completed_ns):
                continue
            beside += 1
            delay = op.completed_ns - op.checked_out_ns - (own[1] - own[0])
            most = max(most, delay)
            if delay >= limit_ns:
                wrong.append(f"call {op.index} was held up on worker {op.worker} for {delay / 1e9:.3f} s")
        for stretch, shared in idle_beside(waits(history), idle_stretches(history, limit_ns), limit_ns):
            if beside_one_of(stretch[2], stretch[0], stretch[1]):
                wrong.append(f"a call waited for {shared / 1e9:.3f} s beside the idle worker {stretch[2]}")
        figures: dict[str, float | int | str] = {"stuck": len(stuck), "beside": beside, "most_s": round(most / 1e9, 4)}
        if wrong:
            claim = f"{len(wrong)} times a stuck worker delayed what others could do"
            return finding(self, Verdict.FAIL, claim, figures=figures, examples=wrong)
        if not beside:
            return finding(self, Verdict.UNKNOWN, "no call was served beside a stuck worker", figures=figures)
        claim = f"{beside} calls beside {len(stuck)} stuck workers were delayed by at most {most / 1e9:.3f} s"
        return finding(self, Verdict.PASS, claim, figures=figures)


def _stuck(history: History, longer_ns: int) -> Iterator[Stretch]:
    faults = {fault.worker: fault.at_ns for fault in history.faults if fault.landed and fault.worker is not None}
    for worker, events in events_of_workers(history, EventKind.ACCEPT, *LEASE_ENDS).items():
        struck = faults.get(worker)
        taken: Event | None = None
        for event in events:
            if event.kind is EventKind.ACCEPT:
                taken = event
            elif taken is not None:
                if struck is not None and taken.at_ns <= struck <= event.at_ns:
                    yield struck, event.at_ns, worker
                elif event.at_ns - taken.at_ns >= longer_ns:
                    yield taken.at_ns, event.at_ns, worker
                taken = None


class _Beside:
    """Whether any of these stretches, sorted, of another worker shares a moment with a given one."""

    def __init__(self, stretches: Sequence[Stretch]) -> None:
        self._stretches = stretches
        self._starts = [start for start, _, _ in stretches]
        self._latest = list(itertools.accumulate((end for _, end, _ in stretches), max))

    def __call__(self, worker: int | None, start: int, end: int) -> bool:
        for place in range(bisect.bisect_left(self._starts, end) - 1, -1, -1):
            if self._latest[place] <= start:
                return False  # neither this one nor any before it lasted until then
            _, until, who = self._stretches[place]
            if who != worker and until > start:
                return True
        return False

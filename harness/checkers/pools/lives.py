"""Checks that workers start, serve and end by the rules: lives, starts, timeouts, growth and recycling."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import ClassVar

import msgspec
import numpy as np

from poolproof.bridge import Event, EventKind
from poolproof.harness.checkers.pools.leases import same_as_before
from poolproof.harness.history.columns import NONE, order_by
from poolproof.harness.history.history import History
from poolproof.harness.model.checker import Finding, finding
from poolproof.harness.model.verdict import Verdict

SPAWN, READY, KILL, REAP = EventKind.SPAWN, EventKind.READY, EventKind.KILL, EventKind.REAP
RETIRED = frozenset({"retired"})
"""The details of a KILL that the pool itself chose: the worker was healthy and is retired."""


def lives_of(history: History) -> dict[int, list[Event]]:
    """Return each worker's events in order of time; events of the same moment stay in the order of recording."""
    found: dict[int, list[Event]] = {}
    for event in history.steps(SPAWN, READY, KILL, REAP):
        if event.worker is not None:
            found.setdefault(event.worker, []).append(event)
    return found


class Lives(msgspec.Struct, frozen=True, kw_only=True):
    """Every worker is spawned, ready, killed and reaped in this order, each at most once, and is always reaped (G8).

    So at every event each live worker is idle, leased, starting or dying. A kill may be repeated. `slack_s`
    is how many seconds late another thread may report a SEND that was made before the worker was reaped.
    """

    slack_s: float = 0.1
    name: str = "lives"
    guarantees: tuple[str, ...] = ("G8",)
    needs_events: ClassVar[bool] = True

    def check(self, history: History) -> Finding:
        """Judge each worker by its events SPAWN, READY, SEND, KILL and REAP."""
        if not len(history.events_by_kind[SPAWN]):
            return finding(self, Verdict.UNKNOWN, "the pool reported no start of a worker")
        complete = history.finished and history.close_ended_ns is not None
        lives = lives_of(history)
        sends = history.steps(EventKind.SEND)
        for event in sends.take(~np.append(same_as_before(sends.worker)[1:], False)[: len(sends)]):
            if event.worker is not None:  # the last SEND to this worker
                lives.setdefault(event.worker, []).append(event)
        wrong = [fault for worker, events in lives.items() for fault in self._faults(worker, events, complete)]
        if wrong:
            return finding(
                self,
                Verdict.FAIL,
                f"{len(wrong)} steps of workers' lives are in the wrong order, repeated or missing",
                examples=wrong,
            )
        return finding(
            self,
            Verdict.PASS,
            f"{len(lives)} workers went through all steps of their lives in the right order",
            figures={"workers": len(lives)},
        )

    def _faults(self, worker: int, events: list[Event], complete: bool) -> Iterator[str]:
        counts = Counter(event.kind for event in events)
        first = {event.kind: event.at_ns for event in reversed(events)}
        for kind in (SPAWN, READY, REAP):
            if counts[kind] > 1:
                yield f"worker {worker} reported {kind} {counts[kind]} times"
        if SPAWN not in first:
            yield f"worker {worker} has events, but no SPAWN event"
        elif early := [event for event in events if event.at_ns < first[SPAWN]]:
            yield f"worker {worker} reported {early[0].kind} before it was spawned"
        if REAP in first:
            late = [event for event in events if event.at_ns > first[REAP] + int(self.slack_s * 1e9)]
            for event in late[:1]:
                yield f"worker {worker} has {event.kind} {(event.at_ns - first[REAP]) / 1e9:.3f} s after it was reaped"
        elif complete:
            yield f"worker {worker} was never reaped"


class TimeoutKills(msgspec.Struct, frozen=True, kw_only=True):
    """If a call times out on a worker, the worker is killed before the call ends, and reaped within `grace_s` (G12).

    `slack_s` is how many seconds later the kill may be recorded. Whether the whole process group ended is decided from
    the resource snapshots.
    """

    grace_s: float
    slack_s: float = 0.05
    name: str = "timeout_kills"
    guarantees: tuple[str, ...] = ("G12",)
    needs_events: ClassVar[bool] = True

    def check(self, history: History) -> Finding:
        """Judge the run by the operations that ended as CallTimeout after they were sent, and from KILL and REAP."""
        ends: dict[EventKind, dict[int | None, int]] = {KILL: {}, REAP: {}}
        for kind, found in ends.items():
            for event in history.events_by_kind[kind]:
                found.setdefault(event.worker, event.at_ns)
        wrong: list[str] = []
        decided = 0
        for op in history.judged_ops.take(history.judged_ops.outcome.are("CallTimeout")):
            if op.sent_ns is None or op.worker is None or op.completed_ns is None:
                continue
            decided += 1
            kill, reap = ends[KILL].get(op.worker), ends[REAP].get(op.worker)
            end = min((ns for ns in (kill, reap) if ns is not None), default=None)
            if end is None:
                wrong.append(f"worker {op.worker} was not ended, although its call {op.index} had timed out")
            elif end > op.completed_ns + int(self.slack_s * 1e9):
                late_s = (end - op.completed_ns) / 1e9
                wrong.append(
                    f"worker {op.worker} was killed {late_s:.3f} s after call {op.index} got its timeout error"
                )
            elif reap is not None and (reap - end) / 1e9 > self.grace_s:
                wrong.append(f"worker {op.worker} was reaped {(reap - end) / 1e9:.3f} s after it was killed")
            elif reap is None and history.finished:
                wrong.append(f"worker {op.worker} was killed but never reaped")
        if wrong:
            return finding(
                self,
                Verdict.FAIL,
                f"{len(wrong)} call timeouts did not end the worker of the call in time",
                examples=wrong,
            )
        if not decided:
            return finding(self, Verdict.UNKNOWN, "no call timed out after it was sent")
        return finding(
            self,
            Verdict.PASS,
            f"each of {decided} call timeouts ended the worker of the call in time",
            figures={"decided": decided},
        )


class BoundedStart(msgspec.Struct, frozen=True, kw_only=True):
    """Every start ends within `timeout_s` plus the fraction `tolerance` of it and `slack_s` seconds (G13).

    By then the worker is ready, killed or dead. With `mute` the scenario's failing starts answer nothing at all, so
    a kill before `timeout_s` less its tolerance is too early.
    """

    timeout_s: float
    tolerance: float = 0.1
    slack_s: float = 0.1
    mute: bool = False
    name: str = "bounded_start"
    guarantees: tuple[str, ...] = ("G13",)
    needs_events: ClassVar[bool] = True

    def check(self, history: History) -> Finding:
        """Judge each start, from SPAWN to the first of READY, KILL and REAP; the close may interrupt a start."""
        lives = lives_of(history)
        if not any(events[0].kind is SPAWN for events in lives.values()):
            return finding(self, Verdict.UNKNOWN, "the pool reported no start of a worker")
        latest_s = self.timeout_s * (1 + self.tolerance) + self.slack_s
        close_ns = history.close_began_ns
        last_ns = close_ns or int(history.events.at_ns.max())
        wrong: list[str] = []
        longest_s, decided, failed = 0.0, 0, 0
        for worker, events in lives.items():
            if events[0].kind is not SPAWN:
                continue
            end = events[1] if len(events) > 1 and (close_ns is None or events[1].at_ns < close_ns) else None
            took_s = ((last_ns if end is None else end.at_ns) - events[0].at_ns) / 1e9
            if end is None and took_s <= latest_s:
                continue
            decided += 1
            failed += end is not None and end.kind is not READY
            longest_s = max(longest_s, took_s)
            how = "still starting" if end is None else {READY: "ready", KILL: "given up"}.get(end.kind, "dead")
            early = (
                self.mute and end is not None and end.kind is KILL and took_s < self.timeout_s * (1 - self.tolerance)
            )
            if took_s > latest_s or early:
                wrong.append(f"worker {worker} was {how} after {took_s:.3f} s; the limit is {self.timeout_s:g} s")
        figures: dict[str, float | int | str] = {"starts": decided, "failed": failed, "longest_s": round(longest_s, 4)}
        if wrong:
            return finding(
                self, Verdict.FAIL, f"{len(wrong)} starts of workers took longer", figures=figures, examples=wrong
            )
        if not decided:
            return finding(self, Verdict.UNKNOWN, "every start of a worker was cut short by close()")
        claim = (
            f"each of {decided} starts of workers ended, ready or given up, within {longest_s:.2f} s; "
            f"{failed} starts failed"
        )
        return finding(self, Verdict.PASS, claim, figures=figures)


class Restraint(msgspec.Struct, frozen=True, kw_only=True):
    """Never more than `at_most` workers are alive, and none is retired while `at_least` or fewer workers stay (G15).

    The scenario sets both bounds: the pool's size, and the number of workers that its spike of calls needs.
    """

    at_most: int
    at_least: int = 0
    name: str = "restraint"
    guarantees: tuple[str, ...] = ("G15",)
    needs_events: ClassVar[bool] = True

    def check(self, history: History) -> Finding:
        """Judge the run by the events SPAWN and REAP and the kills that the pool itself chose, up to the close."""
        living: set[int | None] = set()
        staying: set[int | None] = set()
        wrong: list[str] = []
        most = 0
        for event in _until_close(history, SPAWN, KILL, REAP):
            if event.kind is SPAWN:
                living.add(event.worker)
                staying.add(event.worker)
                most = max(most, len(living))
                continue
            chosen = event.kind is KILL and event.detail in RETIRED and event.worker in staying
            if chosen and len(staying) <= self.at_least:
                wrong.append(
                    f"worker {event.worker} was ended by the pool's choice while only {len(staying)} workers stayed"
                )
            staying.discard(event.worker)
            if event.kind is REAP:
                living.discard(event.worker)
        if not most:
            return finding(self, Verdict.UNKNOWN, "the pool reported no start of a worker")
        if most > self.at_most:
            wrong.insert(0, f"{most} workers lived at the same time; {self.at_most} would have been enough")
        if wrong:
            return finding(self, Verdict.FAIL, wrong[0], figures={"max": most}, examples=wrong)
        claim = (
            f"at most {most} workers lived at the same time, and the pool never chose to keep fewer than "
            f"{self.at_least}"
        )
        return finding(self, Verdict.PASS, claim, figures={"max": most})


class Recycled(msgspec.Struct, frozen=True, kw_only=True):
    """No worker serves over `max_requests` calls, none is retired during a lease, and never the last ready one (G16).

    A pool of one worker cannot keep a ready worker during a replacement, so that rule does not apply to it. If
    `max_requests` is None, only the times of the retirements are checked.
    """

    max_requests: int | None = None
    name: str = "recycled"
    guarantees: tuple[str, ...] = ("G16",)
    needs_events: ClassVar[bool] = True

    def check(self, history: History) -> Finding:
        """Judge the run by the SEND events, the leases, and the kills that the pool itself chose, up to the close."""
        workers = history.events.worker[history.events.kind.are(EventKind.SEND)]
        if not len(workers):
            return finding(self, Verdict.UNKNOWN, "no request was recorded as sent")
        served = dict(zip(*(column.tolist() for column in np.unique(workers, return_counts=True)), strict=True))
        limit = self.max_requests
        wrong = [
            f"worker {worker} served {count} calls; it should have been replaced after {limit}"
            for worker, count in served.items()
            if limit is not None and count > limit
        ]
        ready: set[int | None] = set()
        holders = _holders(history)
        recycled = 0
        for event in _until_close(history, READY, KILL, REAP):
            if event.kind is READY:
                ready.add(event.worker)
                continue
            if event.kind is KILL and event.detail in RETIRED and event.worker in ready:
                recycled += 1
                holder = holders.get((event.worker, event.at_ns))
                if holder is not None:
                    wrong.append(
                        f"worker {event.worker} was ended by the pool's choice while pool call {holder} held it"
                    )
                if len(ready) == 1 and history.info.workers > 1:
                    wrong.append(
                        f"worker {event.worker} was ended by the pool's choice although no other worker was ready"
                    )
            ready.discard(event.worker)
        most_served = max(served.values())
        figures: dict[str, float | int | str] = {"most_served": most_served, "recycled": recycled}
        if wrong:
            return finding(
                self,
                Verdict.FAIL,
                f"{len(wrong)} workers were recycled too late or at the wrong moment",
                figures=figures,
                examples=wrong,
            )
        if not recycled and (limit is None or most_served < limit):
            return finding(
                self,
                Verdict.UNKNOWN,
                "no worker reached its limit of calls, and none was ended by the pool's choice",
                figures=figures,
            )
        claim = f"{recycled} workers were replaced between leases; no worker served more than {most_served} calls"
        return finding(self, Verdict.PASS, claim, figures=figures)


def _holders(history: History) -> dict[tuple[int | None, int], int]:
    # The call that held a worker at the moment of its kill, if there was one.
    steps = history.steps(EventKind.ACCEPT, EventKind.CHECKIN, KILL, REAP)
    kills = steps.kind.are(KILL)
    # At the same moment the kill comes last.
    steps = steps.take(order_by(steps.worker, steps.at_ns, kills.astype(np.int8)))
    held = np.flatnonzero(
        same_as_before(steps.worker)
        & steps.kind.are(KILL)
        & np.append(False, steps.kind.are(EventKind.ACCEPT) & (steps.call != NONE))[: len(steps)]
    )
    kept = (steps.worker[held].tolist(), steps.at_ns[held].tolist(), steps.call[held - 1].tolist())
    return {(worker, at_ns): call for worker, at_ns, call in zip(*kept, strict=True)}


def _until_close(history: History, *kinds: EventKind) -> list[Event]:
    close_ns = history.close_began_ns
    found = [e for kind in kinds for e in history.events_by_kind[kind] if close_ns is None or e.at_ns < close_ns]
    return sorted(found, key=lambda event: event.at_ns)

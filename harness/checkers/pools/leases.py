"""Checks that a worker serves one call at a time, at most once, and never after an exchange that broke off."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from poolproof.bridge import EventKind
from poolproof.harness.history.columns import NONE, Numbers, find_last, last_where, order_by, pick, repeated
from poolproof.harness.history.history import History, OpType
from poolproof.harness.history.tables import Events
from poolproof.harness.model.checker import Finding, finding
from poolproof.harness.model.evidence import FROM_EVENTS_OR_JOURNALS, Evidence
from poolproof.harness.model.verdict import Verdict

LEASE_ENDS = (EventKind.CHECKIN, EventKind.KILL, EventKind.REAP)


def same_as_before(column: Numbers) -> NDArray[np.bool_]:
    """Return where a row has the same value as the row before it; never true in the first row."""
    same = np.zeros(len(column), dtype=bool)
    same[1:] = column[1:] == column[:-1]
    return same


def free_arrivals(history: History) -> Events:
    """Return ENQUEUE of the calls that any worker may serve, in order of time.

    Calls of sessions are left out, since they may wait for one worker alone; so are calls on a held lease. Calls that
    belong to no operation may be in a session: those of batches, and those with which a pool ends unused sessions.
    """
    came = history.events_by_kind[EventKind.ENQUEUE]
    bound = history.ops.call[~history.ops.session.are(None)]
    free = (came.call != NONE) & (came.worker == NONE) & ~np.isin(came.call, bound)
    if "session_ttl_s" in history.info.options or history.info.together > 1:
        free &= np.isin(came.call, history.ops.call)
    return came.take(free)


class ExclusiveLease(msgspec.Struct, frozen=True, kw_only=True):
    """Leases of one worker never overlap, and neither do the requests in the worker's own journal (G2)."""

    name: str = "exclusive_lease"
    guarantees: tuple[str, ...] = ("G2",)
    evidence: ClassVar[frozenset[Evidence]] = FROM_EVENTS_OR_JOURNALS

    def check(self, history: History) -> Finding:
        """Judge the run by the pool's events and the workers' journals."""
        steps = history.steps(EventKind.ACCEPT, *LEASE_ENDS)
        taken = steps.kind.are(EventKind.ACCEPT)
        # A checkin ends no lease if its call is not the call that was given the worker.
        given = last_where(taken)
        strange = steps.kind.are(EventKind.CHECKIN) & (pick(steps.call, given, NONE) != steps.call)
        steps = steps.take(~strange)
        taken = steps.kind.are(EventKind.ACCEPT)
        held = same_as_before(steps.worker) & np.append(False, taken & (steps.call != NONE))[: len(steps)]
        leases = int(taken.sum())
        wrong = [
            f"worker {worker} was given to pool call {call} while pool call {holder} held it"
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
            return finding(
                self,
                Verdict.FAIL,
                f"{len(wrong)} times a worker was leased, or at work, for two calls at the same time",
                examples=wrong,
            )
        if not decided:
            return finding(self, Verdict.UNKNOWN, "neither a lease nor the work of any worker was recorded")
        return finding(
            self,
            Verdict.PASS,
            f"{leases} leases, and no two of them on one worker at the same time",
            figures={"leases": leases},
        )


class AtMostOnce(msgspec.Struct, frozen=True, kw_only=True):
    """No request is sent twice, and no nonce is served twice (G4).

    One repetition is allowed: a handover repeats requests of a session that were already answered, on another worker.
    """

    name: str = "at_most_once"
    guarantees: tuple[str, ...] = ("G4",)
    evidence: ClassVar[frozenset[Evidence]] = FROM_EVENTS_OR_JOURNALS

    def check(self, history: History) -> Finding:
        """Judge the run by the pool's SEND events and the workers' journals."""
        events, ops, services = history.events, history.ops, history.services
        sent = events.call[events.kind.are(EventKind.SEND)]
        answered = ops.take(~ops.session.are(None) & ops.type.are(OpType.OK) & (ops.completed_ns != NONE))
        answer = find_last((services.nonce.codes_in(ops.nonce),), (answered.nonce.codes,))
        before = (answer < 0) | (services.start_ns < pick(answered.completed_ns, answer, 0))
        served = services.nonce.codes[before & ~services.nonce.are(None)]
        wrong = [
            f"pool call {None if call == NONE else call} was sent {count} times"
            for call, count in repeated(sent).items()
        ]
        words = services.nonce.words
        wrong += [f"the request {words[code]} was served {count} times" for code, count in repeated(served).items()]
        unnamed = services.nonce.are(None)
        if "ping_interval_s" in history.info.options:
            unnamed &= ~services.command.are("ping")  # the pool's own
        nameless = int(unnamed.sum())
        asked = sum("nonce" not in args for (args,) in ops.rows("args")) if nameless else 0
        if nameless > asked and ops.session.are(None).all():  # a handover repeats requests of a session
            wrong.append(f"{nameless} requests without a nonce were served, but callers made {asked} of them")
        if wrong:
            return finding(
                self, Verdict.FAIL, f"{len(wrong)} requests were sent or served more than once", examples=wrong
            )
        seen = max(len(sent), len(served) + nameless)
        if not seen:
            return finding(self, Verdict.UNKNOWN, "no request was recorded as sent or served")
        return finding(self, Verdict.PASS, f"{seen} requests, each sent at most once")


def pairs_at(rows: NDArray[np.bool_], who: Numbers, what: Numbers) -> Iterator[tuple[int, int, int]]:
    """Yield (`who`, `what`, and `what` of the row before) for each of these rows."""
    places = np.flatnonzero(rows)
    yield from zip(who[places].tolist(), what[places].tolist(), what[places - 1].tolist(), strict=True)


class CleanWorkers(msgspec.Struct, frozen=True, kw_only=True):
    """A worker whose exchange broke off between send and receive is never leased again (G5)."""

    name: str = "clean_workers"
    guarantees: tuple[str, ...] = ("G5",)
    needs_events: ClassVar[bool] = True

    def check(self, history: History) -> Finding:
        """Judge the run by the pool's events."""
        steps = history.steps(EventKind.ACCEPT, EventKind.SEND, EventKind.RECEIVE)
        outstanding = steps.kind.are(EventKind.SEND) & (steps.call != NONE)
        again = same_as_before(steps.worker) & np.append(False, outstanding)[: len(steps)]
        again &= steps.kind.are(EventKind.ACCEPT)
        last = ~np.append(same_as_before(steps.worker)[1:], False)[: len(steps)]
        broken = int((outstanding & last).sum())
        wrong = [
            f"worker {worker} was given to pool call {call}, although its earlier pool call {other} had no answer yet"
            for worker, call, other in pairs_at(again, steps.worker, steps.call)
        ]
        if wrong:
            return finding(
                self,
                Verdict.FAIL,
                f"{len(wrong)} workers were used again although an earlier call had no answer (dirty workers)",
                examples=wrong,
            )
        if not len(steps):
            return finding(self, Verdict.UNKNOWN, "the pool reported no lease")
        return finding(
            self,
            Verdict.PASS,
            f"no worker was used again after a call without an answer; {broken} workers had such a call",
            figures={"broken": broken},
        )

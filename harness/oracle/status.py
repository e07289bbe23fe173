"""States what a pool's status may contain while calls run: its counts, its workers, its queue and its health.

A snapshot was taken at some moment between its request and its return, so each of its numbers lies between the number
that certainly held before and the number that may have held after. Within one snapshot nothing may contradict itself.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np

from poolproof.bridge import PoolStatus
from poolproof.harness.history.columns import NONE, Numbers
from poolproof.harness.history.history import History, StatusSample
from poolproof.harness.model.checker import Finding, finding
from poolproof.harness.model.fault import FaultKind
from poolproof.harness.model.op import RESERVED
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.oracle.ends import first_end_ns
from poolproof.harness.oracle.faces import DIRECT

READY = frozenset({"idle", "leased"})
CROWD_LABEL = f"{RESERVED}crowd"
"""The label of the calls of a crowd: more calls than may run, followed by the number of the round."""
CROWD_SURE_NS = 2_000_000_000
"""How long all calls of a crowd must have been open before a pool that does not count them all is judged wrong."""


class TrueStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Every status and health record agrees with the calls, journals and options at its moment (G2, G8, G14, G27)."""

    name: str = "true_status"
    guarantees: tuple[str, ...] = ("G2", "G8", "G14", "G27")

    def check(self, history: History) -> Finding:
        """Judge the run by the snapshots of the run, and the operations and service intervals around each of them."""
        if not history.statuses:
            return finding(self, Verdict.UNKNOWN, "the pool's status was not read")
        judge = _Judge(history)
        wrong = [
            f"{(sample.began_ns - history.info.started_ns) / 1e9:.3f} s after the begin: {told}"
            for sample in history.statuses
            for told in judge.objections(sample)
        ]
        wrong += judge.objections_to_crowds()
        figures: dict[str, float | int | str] = {"snapshots": len(history.statuses)}
        if wrong:
            claim = f"{len(wrong)} statements of the pool about itself were false"
            return finding(self, Verdict.FAIL, claim, figures=figures, examples=wrong)
        return finding(
            self, Verdict.PASS, f"{len(history.statuses)} snapshots fit what was seen of the pool", figures=figures
        )


class _Judge:
    def __init__(self, history: History) -> None:
        info, ops = history.info, history.ops
        self._history = history
        self._info = info
        self._counted = "conserved" not in info.void
        self._most = info.workers + int(info.options.get("overflow", 0))
        self._own = int("session_ttl_s" in info.options)  # the pool ends one unused session at a time, by a call
        self._max_queue = info.options.get("max_queue")
        self._invoked = np.sort(ops.invoked_ns)
        ended_ns = np.where(ops.completed_ns == NONE, np.iinfo(np.int64).max, ops.completed_ns)
        self._ended = np.sort(ended_ns)
        self._outcomes = {
            outcome: (np.sort(ops.invoked_ns[rows]), np.sort(ended_ns[rows]))
            for outcome in ops.outcome.counts()
            for rows in [np.flatnonzero(ops.outcome.are(outcome))]
        }
        in_session = ~ops.session.are(None)
        self._sessions = np.sort(
            [min(ops.invoked_ns[ops.session.are(name)]) for name in ops.session[in_session].counts()]
        )
        self._answered, self._kept_until_ns = _first_answers(history), first_end_ns(history)
        self._busy = history.services
        self._close_ns = history.close_began_ns
        self._resized = any(fault.kind is FaultKind.RESIZE for fault in history.faults)

    def objections(self, sample: StatusSample) -> Iterator[str]:
        closing = self._close_ns is not None and sample.ended_ns >= self._close_ns
        if sample.error and not (closing and sample.error.startswith("PoolClosed")):
            yield f"it raised {sample.error}"
        for status in (sample.status, sample.status_after):
            if status is not None:
                yield from self._workers(status, sample)
                yield from self._counts(status, sample)
                if status.state != "open" and not closing:
                    yield f"the pool called itself {status.state}, and was open"
        if not closing:
            yield from self._health(sample)

    def _workers(self, status: PoolStatus, sample: StatusSample) -> Iterator[str]:
        pids = [worker.pid for worker in status.workers if worker.pid]  # 0: it is being started
        ids = [worker.worker_id for worker in status.workers]
        if len(set(pids)) < len(pids) or len(set(ids)) < len(ids):
            yield f"two of its workers are one: processes {pids}, workers {ids}"
        if len(ids) > self._most:
            yield f"{len(ids)} workers live; at most {self._most} may"
        open_calls = self._open(sample)
        leased = sum(worker.state == "leased" for worker in status.workers)
        if leased > open_calls + self._own + self._info.options.get("max_idle_pings", 1):
            yield f"{leased} workers are leased; {open_calls} calls were open"
        busy = self._busy_throughout(sample)
        for worker in status.workers:
            if worker.state == "idle" and worker.pid in busy:
                yield f"worker {worker.worker_id} (process {worker.pid}) is called idle in the middle of a call"

    def _counts(self, status: PoolStatus, sample: StatusSample) -> Iterator[str]:
        told = status.statistics
        if told.submitted != told.in_flight + sum(told.outcomes.values()):
            yield f"{told.submitted} submitted is not {told.in_flight} in flight + {sum(told.outcomes.values())} ended"
        open_calls = self._open(sample)
        if self._max_queue is not None and status.waiting > self._max_queue:
            yield f"{status.waiting} calls wait; at most {self._max_queue} may"
        if status.waiting > open_calls + self._own:
            yield f"{status.waiting} calls wait; {open_calls} calls were open"
        if not self._counted:
            return
        if told.in_flight > open_calls:
            yield f"{told.in_flight} calls are in flight; {open_calls} calls were open"
        for outcome in told.outcomes.keys() | self._outcomes.keys():
            if outcome in self._info.uncounted or outcome == "pending":
                continue
            least, most = self._between(outcome, sample)
            counted = told.outcomes.get(outcome, 0)
            if not least <= counted <= most:
                yield f"{counted} calls ended as {outcome} by its count; {least} to {most} by its callers'"
        most_sessions = int(np.searchsorted(self._sessions, sample.ended_ns, "right"))
        if status.sessions > most_sessions:
            yield f"{status.sessions} sessions are kept; {most_sessions} were begun"
        least_sessions = int(np.searchsorted(self._answered, sample.began_ns, "left"))
        if status.sessions < least_sessions and sample.ended_ns < self._kept_until_ns:
            yield f"{status.sessions} sessions are kept; {least_sessions} have had an answer, and no worker has ended"

    def _health(self, sample: StatusSample) -> Iterator[str]:
        health, before, after = sample.health, sample.status, sample.status_after
        if health is None or before is None or after is None:
            return
        if health.healthy and health.reasons:
            yield f"it is healthy and not: {health.reasons[0]}"
        if not health.healthy and not health.reasons:
            yield "it is not healthy, and no reason is given"
        if before.workers and _states(before) == _states(after) and health.live != len(_ready(before)):
            yield f"health tells of {health.live} ready workers, and the status of {len(_ready(before))}"
        if health.target != before.target == after.target and not self._resized:  # it may change twice in between
            yield f"health tells of a target of {health.target} workers, and the status of {before.target}"

    def objections_to_crowds(self) -> Iterator[str]:
        # While every call of a crowd is open, some snapshot counts all of them. In a short round some threads may not
        # have arrived yet on a busy machine, so only a long round can accuse, which is made if the others failed.
        ops, most = self._history.ops, self._most
        told: list[str] = []
        for label in sorted(str(label) for label in ops.label.counts() if str(label).startswith(CROWD_LABEL)):
            rows = ops.label.are(label)
            count, begun_ns, ended_ns = int(rows.sum()), int(ops.invoked_ns[rows].max()), ops.completed_ns[rows]
            over_ns = int(ended_ns.min())
            if NONE in ended_ns or over_ns - begun_ns < CROWD_SURE_NS or self._info.face not in DIRECT:
                continue
            seen = [
                sample.status_after
                for sample in self._history.statuses
                if sample.began_ns > begun_ns and sample.ended_ns < over_ns and sample.status_after is not None
            ]
            if not seen:
                continue
            waiting, in_flight = max(one.waiting for one in seen), max(one.statistics.in_flight for one in seen)
            if waiting < count - most:
                told.append(f"{count} calls were open, {most} workers may live, and at most {waiting} calls waited")
            if self._counted and in_flight < count:
                told.append(f"{count} calls were open, and at most {in_flight} were in flight")
        yield from told

    def _open(self, sample: StatusSample) -> int:
        # How many calls may have been open at some moment of the sample.
        begun = int(np.searchsorted(self._invoked, sample.ended_ns, "right"))
        return begun - int(np.searchsorted(self._ended, sample.began_ns, "left"))

    def _between(self, outcome: str, sample: StatusSample) -> tuple[int, int]:
        invoked, ended = self._outcomes.get(outcome, (np.empty(0), np.empty(0)))
        least = int(np.searchsorted(ended, sample.began_ns, "left"))
        return least, int(np.searchsorted(invoked, sample.ended_ns, "right"))

    def _busy_throughout(self, sample: StatusSample) -> set[int]:
        # The processes that worked on one request from before the sample until after it, by their journals.
        start_ns, end_ns = self._busy.start_ns, self._busy.end_ns
        if not len(start_ns):
            return set()
        rows: Numbers = np.flatnonzero((start_ns < sample.began_ns) & (end_ns != NONE) & (end_ns > sample.ended_ns))
        return set(self._busy.pid[rows].tolist())


def _first_answers(history: History) -> Numbers:
    # When each session had an answer for the first time, in order; of a pool that keeps all sessions to their end.
    ops = history.ops
    rows = np.flatnonzero(ops.type.are("ok") & ~ops.session.are(None))
    kept = history.info.face in DIRECT and "session_ttl_s" not in history.info.options
    if not kept or ops.command.are("cleanup_session").any():
        return np.empty(0, np.int64)
    firsts = [ops.completed_ns[rows[ops.session[rows].are(name)]].min() for name in ops.session[rows].counts()]
    return np.sort(np.array(firsts, np.int64))


def _states(status: PoolStatus) -> frozenset[tuple[int, str]]:
    # A worker that is equally far on its way in two snapshots was so in between. A worker's id is never used again.
    return frozenset(
        (worker.worker_id, "ready" if worker.state in READY else worker.state) for worker in status.workers
    )


def _ready(status: PoolStatus) -> frozenset[int]:
    return frozenset(worker.pid for worker in status.workers if worker.state in READY)

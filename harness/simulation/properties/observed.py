"""What an observer from outside knows of a pool, from the notes of a history so far. Pure."""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec

from poolproof.bridge.config import PoolConfig
from poolproof.harness.simulation.plan import ITEMS, MS, Op, Plan

ROUNDING_NS = 600_000
"""How much later than planned a supervisor may look: it rounds to half a millisecond."""
LOOK_NS = 2 * MS + ROUNDING_NS
"""How long an exit status may be known before a supervisor looks for it again."""


class Violation(msgspec.Struct, frozen=True):
    """A broken guarantee: its number, and a sentence that says what happened."""

    guarantee: str
    what: str


class SeenWorker:
    """One worker; times are None as long as something has not happened."""

    def __init__(self, worker_id: int, spawned_ns: int) -> None:
        self.worker_id = worker_id
        self.spawned_ns = spawned_ns
        self.ready_ns: int | None = None
        self.failed_ns: int | None = None
        self.killed_ns: int | None = None
        self.retired_ns: int | None = None
        self.exited_ns: int | None = None
        self.released_ns: int | None = None
        self.holder: int | None = None
        self.idle_ns = 0
        self.pinged_ns = 0
        self.served = 0
        self.leases = 0
        self.returned = False
        """Whether a call has returned the worker with nothing outstanding."""
        self.outstanding = 0
        self.dirty = False

    @property
    def idle(self) -> bool:
        """Whether the worker could serve a call now, as far as an observer knows."""
        leaving = self.killed_ns or self.retired_ns or self.exited_ns or self.failed_ns
        return self.ready_ns is not None and self.holder is None and not leaving and not self.dirty

    @property
    def starting(self) -> bool:
        """Whether the worker is being started."""
        return not (self.ready_ns or self.failed_ns or self.exited_ns)


class SeenOp:
    """One operation of a client."""

    def __init__(self, op: Op, invoked_ns: int, deadline_ns: int, until_ns: int) -> None:
        self.op = op
        self.invoked_ns = invoked_ns
        self.deadline_ns = deadline_ns
        self.until_ns = until_ns
        self.outcomes: dict[int, str] = {}
        self.number = 0
        self.entered_ns = invoked_ns
        self.ended = False
        self.doubtful = False
        """Whether a failed start may already have ended the call, although its client does not know it yet."""
        self.granted_ns: int | None = None


class Observed:
    """The workers, operations and queue so far."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.config = config = PoolConfig(**plan.options)
        self.size = config.workers
        self.most = config.workers + config.overflow
        self.floor = 0 if config.lazy else config.workers if config.min_workers is None else config.min_workers
        traits = plan.traits
        self.late_ns = traits["late_us"] * 1000
        self.slack_ns = ROUNDING_NS + 2 * self.late_ns + traits["kill_us"] * 1000
        reap_ns = traits["reap_us"] * 1000
        self.leave_ns = traits["leave_ms"] * MS + (reap_ns + LOOK_NS if reap_ns else 0)
        """How long a worker that is told to leave may need until it is reaped."""
        """How much later than its deadline a call may end: the supervisor's rounding, its delay, and a kill."""
        self.grace_ns = 5 * MS
        """How much later a call may end if it got its worker at the very moment of its deadline, in nanoseconds."""
        self.exact = not traits["preempt_every"] and not self.late_ns
        """Whether no step of this plan is interrupted by another one, so that the observer sees no half-finished step.
        """
        self.interrupted = any(op.interrupt for op in plan.ops)
        self.now_ns = 0
        self.found: list[Violation] = []
        self.ops = {op.index: op for op in plan.ops}
        self.workers: dict[int, SeenWorker] = {}
        self.living: dict[int, SeenWorker] = {}
        self.gone: deque[SeenWorker] = deque(maxlen=8)
        """The last few workers that have ended."""
        self.dead: dict[int, SeenWorker] = {}
        """The workers that have ended while a call holds them."""
        self.unreaped: set[int] = set()
        """The workers that have ended, and whose exit status the pool has not collected."""
        self.seen: dict[int, SeenOp] = {}
        self.by_number: dict[int, SeenOp] = {}
        self.own: dict[int, str] = {}
        """The sessions of calls that the pool makes itself, by the number of the call."""
        self.own_waiting: set[int] = set()
        self.waiting: dict[int, SeenOp] = {}
        self.closing_ns: int | None = None
        self.arrived: dict[int, list[int]] = {}
        """For each nonce, the ids of the requests that carried it."""

    def wrong(self, guarantee: str, what: str) -> None:
        """Record a violation."""
        if len(self.found) < 20:
            self.found.append(Violation(guarantee, f"{what}, at {(self.now_ns - 10**12) / 1e6:.3f} ms"))

    def op_of(self, nonce: int) -> SeenOp | None:
        """Return the operation of a nonce."""
        return self.seen.get(nonce // ITEMS) if nonce >= 0 else None

    # The notes.

    def on_invoke(self, index: int, deadline_ns: int, until_ns: int) -> None:
        """A client begins an operation."""
        self.seen[index] = SeenOp(self.ops[index], self.now_ns, deadline_ns, until_ns)

    def on_number(self, index: int, number: int) -> None:
        """The operation enters the pool under this number."""
        if not self.seen[index].number:
            self.seen[index].entered_ns = self.now_ns
        self.seen[index].number = number
        self.by_number[number] = self.seen[index]

    def on_own(self, number: int, session: str) -> None:
        """The pool makes a call of its own, which ends a session that no client has used for a long time."""
        self.own[number] = session

    def on_queue(self, number: int) -> None:
        """A call has to wait for a worker."""
        if number in self.by_number:
            again = self.by_number[number].granted_ns is not None
            self.waiting[number] = self.by_number[number]
            if again:  # a call whose worker was dead goes back to its old place
                self.waiting = dict(sorted(self.waiting.items()))
        else:
            self.own_waiting.add(number)

    def on_grant(self, worker_id: int, number: int) -> None:
        """A worker is given to a call."""
        self.workers[worker_id].holder = number
        if number in self.by_number or number in self.own:  # not a ping
            self.workers[worker_id].leases += 1
        self.waiting.pop(number, None)
        self.own_waiting.discard(number)
        if number in self.by_number:
            self.by_number[number].granted_ns = self.now_ns

    def on_free(self, worker_id: int, number: int, unread: int) -> None:
        """A worker is taken from a call; `unread`: bytes that the worker sent are left."""
        worker = self.workers[worker_id]
        worker.holder = None
        self.dead.pop(worker_id, None)
        ping = number not in self.by_number and number not in self.own
        if not ping:
            worker.idle_ns = self.now_ns
        worker.pinged_ns = self.now_ns
        if worker.outstanding or unread:
            worker.dirty = True
        elif not ping:
            worker.returned = True

    def on_arrive(self, worker_id: int, request_id: int, nonce: int, command: str, session: str | None) -> None:
        """A worker has read a request."""
        worker = self.workers[worker_id]
        if request_id:
            worker.outstanding += 1
            if nonce >= 0:
                ids = self.arrived.setdefault(nonce, [])
                if request_id not in ids:
                    if not ids:
                        worker.served += 1
                    ids.append(request_id)

    def on_raised(self, index: int, worker_id: int) -> None:
        """The block of a lease has raised, so its worker may not serve again."""
        if worker_id:
            self.workers[worker_id].dirty = True

    def on_answer(self, worker_id: int, nonce: int) -> None:
        """A worker has written its response to a request, or whatever it writes instead."""
        self.workers[worker_id].outstanding -= 1

    def on_spawn(self, worker_id: int) -> None:
        """A worker is being started."""
        self.workers[worker_id] = self.living[worker_id] = SeenWorker(worker_id, self.now_ns)

    def on_ready(self, worker_id: int) -> None:
        """The pool has read the answer to the init ping."""
        worker = self.workers[worker_id]
        worker.ready_ns = worker.idle_ns = worker.pinged_ns = self.now_ns

    def on_startfail(self, worker_id: int) -> None:
        """The pool has given up the start of a worker."""
        self.workers[worker_id].failed_ns = self.now_ns
        if not any(worker.ready_ns for worker in self.living.values()):
            for op in self.waiting.values():
                op.doubtful = True

    def on_kill(self, worker_id: int) -> None:
        """The pool kills a living worker."""
        self.workers[worker_id].killed_ns = self.now_ns

    def on_retire(self, worker_id: int) -> None:
        """The pool asks a worker to leave."""
        self.workers[worker_id].retired_ns = self.now_ns

    def on_exit(self, worker_id: int) -> None:
        """A worker's process has ended."""
        self.workers[worker_id].exited_ns = self.now_ns
        self.living.pop(worker_id, None)
        self.unreaped.add(worker_id)
        self.gone.append(self.workers[worker_id])
        if self.workers[worker_id].holder is not None:
            self.dead[worker_id] = self.workers[worker_id]

    def on_reap(self, worker_id: int) -> None:
        """The pool has collected the exit status of a worker."""
        self.unreaped.discard(worker_id)

    def on_release(self, worker_id: int) -> None:
        """The pool has forgotten a worker."""
        self.workers[worker_id].released_ns = self.now_ns

    def on_outcome(self, index: int, item: int, outcome: str, sent: str, value: Any) -> None:  # noqa: ANN401
        """A client has the outcome of a call."""
        self.seen[index].outcomes[item] = outcome

    def on_end(self, index: int) -> None:
        """A client has ended an operation."""
        seen = self.seen[index]
        seen.ended = True
        self.waiting.pop(seen.number, None)

    def on_quiet(self) -> None:
        """Nothing more happens at this moment, and at least one client is waiting."""
        for op in self.waiting.values():
            op.doubtful = False

    def on_close(self, grace_ns: int) -> None:
        """The pool is being closed."""
        self.closing_ns = self.now_ns


class Rules:
    """The base class of a group of rules. Its method `on_KIND` is called before the note changes `observed`."""

    def __init__(self, observed: Observed) -> None:
        self.seen = observed
        self.wrong = observed.wrong
        self.prepare()

    def prepare(self) -> None:
        """Set up the state of these rules before the first note."""

    def at_end(self) -> None:
        """Check the rules that apply to the whole history."""

"""The rules of the queue and of leases: one owner, first in first out, no idle worker while a call waits. Pure."""

from __future__ import annotations

from poolproof.harness.simulation.properties.observed import Rules, SeenOp, SeenWorker

UNKNOWN = 0
"""In place of the worker of a session that has just ended, because a call may have begun it again."""


class QueueRules(Rules):
    """The rules of the queue and of leases: guarantees G2, G5, G6, G7 and G9, and G14 for the queue's length."""

    def prepare(self) -> None:
        """Set up the state of these rules before the first note."""
        self.busy: dict[str, int] = {}
        self.home: dict[str, int] = {}
        self.idle_since: dict[tuple[int, int], int] = {}
        self.offered: dict[int, str] = {}
        self.order: list[tuple[int, SeenWorker]] = []
        self.done: set[int] = set()
        self.ended: set[int] = set()

    def on_queue(self, number: int) -> None:
        """A call has to wait for a worker."""
        seen, most = self.seen, self.seen.config.max_queue
        op = seen.by_number.get(number)
        if op is None:
            return
        if seen.now_ns > op.deadline_ns and op.op.kind in ("echo", "put", "get"):
            self.wrong("G11", f"operation {op.op.index} waits after its deadline")
        if (
            most is not None
            and op.granted_ns is None
            and seen.exact
            and not seen.interrupted
            and len(seen.waiting) >= most
        ):
            self.wrong("G14", f"operation {op.op.index} waits as number {len(seen.waiting) + 1}; the limit is {most}")
        if seen.closing_ns is not None:
            self.wrong("G22", f"operation {op.op.index} waits in a pool that is closed")

    def on_outcome(self, index: int, item: int, outcome: str, *_: object) -> None:
        """A client has the outcome of a call."""
        seen = self.seen
        if (
            outcome == "QueueFull"
            and seen.exact
            and not seen.interrupted
            and len(seen.waiting) + len(seen.own_waiting) < (seen.config.max_queue or 0)
        ):
            self.wrong("G14", f"operation {index} got QueueFull while {len(seen.waiting)} calls wait")
        if outcome == "QueueFull" and seen.config.max_queue is None:
            self.wrong("G14", f"operation {index} got QueueFull, and the queue has no limit")

    def on_grant(self, worker_id: int, number: int) -> None:
        """A worker is given to a call."""
        seen = self.seen
        worker = seen.workers[worker_id]
        if worker.holder is not None:
            self.wrong("G2", f"worker {worker_id} is given to call {number} while call {worker.holder} holds it")
        if worker.dirty or worker.killed_ns or worker.retired_ns:
            self.wrong("G5", f"worker {worker_id} is given to call {number}, and it is dirty or was ended")
        if worker.exited_ns is not None and seen.now_ns - worker.exited_ns > seen.slack_ns:
            self.wrong("G5", f"worker {worker_id} is given to call {number}, which ended long before")
        if worker.ready_ns is None:
            self.wrong("G8", f"worker {worker_id} is given to call {number} before it was ready")
        limit = seen.config.max_requests
        if limit is not None and worker.served >= limit:
            self.wrong("G16", f"worker {worker_id} has served {worker.served} requests and serves on")
        op = seen.by_number.get(number)
        if op is None:
            if number in seen.own:
                self.busy[seen.own[number]] = number
            return
        for earlier, waiting in seen.waiting.items():
            if earlier == number:
                break
            # An interrupted call leaves the queue a little before its client tells.
            if earlier < number and not waiting.op.interrupt and self._fits(waiting, worker):
                self.wrong("G7", f"call {number} gets worker {worker_id} while call {earlier} waits longer")
                break
        if (
            number not in seen.waiting
            and not op.ended
            and seen.now_ns > op.deadline_ns
            and op.op.kind in ("echo", "put", "get")
        ):
            self.wrong("G11", f"operation {op.op.index} gets a worker after its deadline")
        session = op.op.session
        if session is not None:
            if session in self.busy:
                self.wrong("G17", f"session {session} holds two workers")
            self.busy[session] = number
            home = seen.workers.get(self.home.get(session, 0))
            stays = seen.config.session_affinity == "strict" or (
                seen.config.session_affinity == "prefer" and home is not None and home.idle
            )
            if home is not None and home is not worker and stays and seen.exact and not home.dirty:
                gone = home.exited_ns or home.killed_ns or home.retired_ns or home.failed_ns
                if not gone:
                    self.order.append((seen.now_ns, home))
        elif number not in seen.waiting and not seen.waiting and seen.exact:
            hot = seen.config.idle_order == "hot"
            for other in seen.living.values():
                if other.idle and (other.idle_ns > worker.idle_ns if hot else other.idle_ns < worker.idle_ns):
                    self.order.append((seen.now_ns, other))
                    break

    def _fits(self, op: SeenOp, worker: SeenWorker) -> bool:
        # Whether this waiting call could certainly have this worker.
        seen, session = self.seen, op.op.session
        if op.until_ns <= seen.now_ns or op.ended or op.doubtful:
            return False
        if session is None:
            return True
        if session in self.busy:
            return False
        worker_id = self.home.get(session)
        if worker_id is None:
            return True
        home = seen.workers.get(worker_id)
        return home is not None and (home is worker or home.released_ns is not None)

    def on_free(self, worker_id: int, number: int, unread: int) -> None:
        """A worker is taken from a call; `unread`: bytes that the worker sent are left."""
        op = self.seen.by_number.get(number)
        session = self.seen.own.get(number) if op is None else op.op.session
        if session is not None:
            self.busy.pop(session, None)
            if number in self.ended or (op is not None and op.op.interrupt):  # what it did is perhaps not recorded
                self.home[session] = UNKNOWN

    def on_own(self, number: int, session: str) -> None:
        """The pool makes a call of its own, which ends a session that no client has used for a long time."""
        self.on_ended(-1, session, 1)

    def on_ended(self, index: int, session: str, found: int) -> None:
        """A client has ended a session, perhaps in the middle of a call on its worker."""
        self.home[session] = UNKNOWN
        self.ended.add(self.busy.get(session, 0))

    def on_execute(self, worker_id: int, request_id: int, nonce: int, command: str, session: str | None) -> None:
        """A worker has executed a request."""
        if session is not None:
            if command == "cleanup_session":
                self.home[session] = UNKNOWN
            else:
                self.home[session] = worker_id

    def on_quiet(self) -> None:
        """Nothing more happens at this moment, and at least one client is waiting."""
        seen, now = self.seen, self.seen.now_ns
        still: dict[tuple[int, int], int] = {}
        idle = [worker for worker in seen.living.values() if worker.idle]
        for number, op in seen.waiting.items() if idle else ():
            for worker in idle:
                if self._fits(op, worker):
                    pair = number, worker.worker_id
                    since = still[pair] = self.idle_since.get(pair, now)
                    if now - since > seen.slack_ns:
                        self.wrong("G6", f"worker {worker.worker_id} is idle while call {number} waits")
        self.idle_since = still

    def on_event(self, kind: str, call: int | None, worker: int | None, outcome: str) -> None:
        """The pool has reported an event to its observer."""
        if call is None:
            return
        if kind == "offer":
            if call in self.offered:
                self.wrong("G9", f"call {call} is offered a second worker while it has an offer")
            self.offered[call] = kind
        elif kind in ("accept", "withdraw"):
            self.offered.pop(call, None)
        elif kind == "done":
            if call in self.done:
                self.wrong("G3", f"call {call} is done twice")
            self.done.add(call)

    def at_end(self) -> None:
        """Check the rules that apply to the whole history."""
        for call in self.offered:
            op = self.seen.by_number.get(call)
            if op is not None and op.op.interrupt:
                continue  # interrupted while it gave up, it could not tell
            self.wrong("G9", f"the offer to call {call} was neither accepted nor withdrawn")
        order = [] if self.seen.plan.traits["no_cleanup"] else self.order  # else a leased worker may be retired
        for at_ns, other in order:
            ends = [other.exited_ns, other.killed_ns, other.retired_ns]
            leaving = [end for end in ends if end is not None and end - at_ns <= self.seen.slack_ns]
            if not leaving:
                self.wrong(
                    "G17", f"worker {other.worker_id} should have been taken, at {(at_ns - 10**12) / 1e6:.3f} ms"
                )

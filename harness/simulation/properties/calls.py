"""The rules of calls: one outcome, the right answer, at most one execution, a true `sent`, and deadlines. Pure."""

from __future__ import annotations

from collections import Counter
from typing import Any

from poolproof.bridge.interface import OUTCOMES
from poolproof.harness.simulation.plan import ITEMS, MS, Op, must_fail
from poolproof.harness.simulation.properties.observed import Rules, SeenOp

STATE = ("put", "append")
PROMPT = ("garbage", "wrong_id", "part", "oversize", "die_at_once", "die_while", "die_after", "die_partial")
"""Faults that a client finds as soon as they happen."""
INNOCENT = ("echo", "big", "put", "get", "fail", "stream")
"""Operations after which an observer knows for certain whether their worker has misbehaved."""
NEVER_SENT = ("CheckoutTimeout", "QueueFull", "CircuitOpen", "SessionLost", "InvalidRequest")
NO_RESULT = (
    *("garbage", "wrong_id", "part", "oversize", "die_at_once", "die_while", "die_after", "die_partial"),
    *("hang", "deaf", "trickle", "twice"),
)
"""Faults after which a worker has given no valid answer."""


class CallRules(Rules):
    """The rules of calls: guarantees G1, G3, G4, G11, G12, G25 and G27."""

    def prepare(self) -> None:
        """Set up the state of these rules before the first note."""
        self.unsent: dict[int, str] = {}
        self.executed: dict[int, int] = {}
        self.counts: Counter[str] = Counter()
        self.cancelled = 0
        self.items: dict[int, int] = {}
        self.torn: set[int] = set()
        self.guilty: set[int] = set()
        """The workers that have misbehaved, or died by themselves."""
        self.own_ends = 0
        self.leases_cancelled = 0

    def on_item(self, index: int, item: int) -> None:
        """A call of a lease begins."""
        self.items[index] = self.seen.now_ns

    def on_write(self, worker_id: int, number: int) -> None:
        """A request is written that does not fit into the pipe, or whose writer does not hold the worker."""
        if number < 0:
            if self.seen.workers[worker_id].ready_ns:
                self.wrong("G2", f"worker {worker_id} is written to, and nobody holds it")
        else:
            self.torn.add(number)

    def on_arrive(self, worker_id: int, request_id: int, nonce: int, command: str, session: str | None) -> None:
        """A worker has read a request."""
        seen = self.seen
        if nonce < 0:
            return
        op = seen.op_of(nonce)
        worker = seen.workers[worker_id]
        if op is None:
            self.wrong("G1", f"worker {worker_id} got request {nonce}, which nobody has made")
            return
        if op.op.fault not in ("", "split"):
            self.guilty.add(worker_id)
        granted_ns = op.granted_ns
        prompt = op.op.kind in ("echo", "fail") and op.op.session is None and op.op.size < 100
        if prompt and granted_ns is not None and seen.now_ns - granted_ns > seen.slack_ns:
            waited_ms = (seen.now_ns - granted_ns) / 1e6
            self.wrong(
                "G6", f"call {nonce} has had worker {worker_id} for {waited_ms:.3f} ms before it sends its request"
            )
        ids = seen.arrived.get(nonce)
        repeated = ids is not None
        if repeated and not (command in STATE and op.op.session is not None and self.executed.get(nonce)):
            self.wrong("G4", f"call {nonce} was sent twice")
        if nonce in self.unsent and not repeated:
            self.wrong("G4", f"call {nonce} reached worker {worker_id} after its client was told {self.unsent[nonce]}")
        holder = worker.holder
        if holder is not None and not repeated:
            by = seen.by_number.get(holder)
            if by is not None and by.op.index != op.op.index:
                self.wrong("G2", f"worker {worker_id} got call {nonce} while operation {by.op.index} holds it")

    def on_misbehave(self, worker_id: int) -> None:
        """A worker has closed its stdin."""
        self.guilty.add(worker_id)

    def on_kill(self, worker_id: int) -> None:
        """See Observed."""
        seen = self.seen
        op = seen.by_number.get(seen.workers[worker_id].holder or 0)
        if op is None or not self._kept_on_cancel(op.op) or worker_id in self.guilty or op.number in self.torn:
            return
        if seen.now_ns < op.deadline_ns and seen.closing_ns is None and op.op.index * ITEMS in seen.arrived:
            self.wrong("G8", f"worker {worker_id} was killed in the middle of operation {op.op.index}, which keeps it")

    def _kept_on_cancel(self, op: Op) -> bool:
        # Whether an operation that is interrupted when its request has arrived keeps its worker.
        traits = self.seen.plan.traits
        if not (traits["keep_on_cancel"] and traits["tasks"] and op.client % 2 == 0 and op.interrupt == "cancel"):
            return False
        if op.session is not None and "session_log_bytes" in self.seen.plan.options:
            return False  # a snapshot may be under way
        left_early = op.kind == "stream" and op.index % 5 == 4
        return not left_early and op.kind in (*INNOCENT, "append", "batch", "batch_put")

    def on_exit(self, worker_id: int) -> None:
        """A worker's process has ended."""
        if self.seen.workers[worker_id].killed_ns is None:
            self.guilty.add(worker_id)

    def on_unreadable(self, worker_id: int, error: str) -> None:
        """A worker cannot read a request."""
        self.wrong("G1", f"worker {worker_id} got what is no request: {error}")

    def on_execute(self, worker_id: int, request_id: int, nonce: int, command: str, session: str | None) -> None:
        """A worker has executed a request."""
        if nonce >= 0:
            self.executed[nonce] = self.executed.get(nonce, 0) + 1

    def on_no_lease(self, index: int, outcome: str, sent: str) -> None:
        """A client got no lease."""
        op = self.seen.seen[index]
        if sent != "no":
            self.wrong("G4", f"operation {index} got no lease, but its error has sent={sent}")
        self._in_time(op, outcome, op.deadline_ns)

    def on_outcome(self, index: int, item: int, outcome: str, sent: str, value: Any) -> None:  # noqa: ANN401
        """A client has the outcome of a call."""
        seen = self.seen
        op = seen.seen[index]
        if item in op.outcomes and not (op.op.kind == "lease" and outcome == "Cancelled"):
            self.wrong("G3", f"call {item} of operation {index} has two outcomes: {op.outcomes[item]} and {outcome}")
        if outcome not in OUTCOMES:
            self.wrong("G3", f"operation {index} ended with {outcome}")
        nonce = index * ITEMS + item
        self._count(op, outcome)
        deadline = op.deadline_ns
        if op.op.kind == "lease":
            deadline = self.items.get(index, op.invoked_ns) + op.op.timeout_ms * MS
            if index % 3:
                deadline = min(deadline, op.deadline_ns)
        self._in_time(op, outcome, deadline)
        if outcome == "result":
            self._result(op, nonce, item, value)
        elif outcome == "CommandError":
            if not must_fail(op.op, item):
                self.wrong("G1", f"call {nonce} ({op.op.kind}) got CommandError")
            if not self.executed.get(nonce):
                self.wrong("G4", f"call {nonce} got an error, although no worker executed it")
        elif outcome != "Cancelled":
            self._failed(op, nonce, outcome, sent, value)

    def _count(self, op: SeenOp, outcome: str) -> None:
        if outcome != "Cancelled":
            self.counts[outcome] += 1
            return
        self.cancelled += op.op.count if op.op.kind.startswith("batch") else 1
        if op.op.kind == "lease":
            self.leases_cancelled += 1
        elif op.op.kind not in ("end", "status"):
            self.counts[outcome] += op.op.count if op.op.kind.startswith("batch") else 1

    def _in_time(self, op: SeenOp, outcome: str, deadline_ns: int) -> None:
        now, slack = self.seen.now_ns, self.seen.slack_ns
        where = f"operation {op.op.index} ({op.op.kind}) got {outcome}"
        if op.op.kind == "end":
            return
        latest_ns = max(deadline_ns, self.items.get(op.op.index, 0), op.entered_ns) + slack
        if op.granted_ns is not None and op.granted_ns >= deadline_ns - slack:
            latest_ns += self.seen.grace_ns
        if outcome != "Cancelled" and now > latest_ns:
            self.wrong("G11", f"{where} {(now - deadline_ns) / 1e6:.3f} ms after its deadline")
        if outcome == "CheckoutTimeout":
            if now > max(op.until_ns, op.entered_ns) + slack:
                self.wrong("G11", f"{where} {(now - op.until_ns) / 1e6:.3f} ms after the time for its wait")
            if now < min(op.until_ns, deadline_ns):
                self.wrong("G11", f"{where} {(op.until_ns - now) / 1e6:.3f} ms too early")
        elif outcome == "CallTimeout" and now < deadline_ns and now < op.deadline_ns:
            self.wrong("G11", f"{where} {(deadline_ns - now) / 1e6:.3f} ms too early")

    def _result(self, op: SeenOp, nonce: int, item: int, value: Any) -> None:  # noqa: ANN401
        kind = op.op.kind
        if must_fail(op.op, item):
            self.wrong("G1", f"call {nonce} has failed in its worker, and got the result {value!r}")
        if kind == "get":
            fits = isinstance(value, list) and value[:1] == [nonce]
        elif kind == "stream":
            fits = value == [[nonce, part] for part in range(op.op.count)]
        else:
            fits = value == nonce
        if not fits:
            self.wrong("G1", f"call {nonce} ({kind}) got the answer {value!r}")
        if not self.executed.get(nonce):
            self.wrong("G1", f"call {nonce} got an answer, although no worker executed it")
        if item == 0 and op.op.fault in NO_RESULT and kind != "stream" and (kind == "echo" or op.op.fault != "twice"):
            self.wrong("G25", f"call {nonce} got a result from a worker whose fault was {op.op.fault}")

    def _failed(self, op: SeenOp, nonce: int, outcome: str, sent: str, worker_id: int | None) -> None:
        seen = self.seen
        arrived = nonce in seen.arrived
        if outcome in NEVER_SENT and sent != "no":
            self.wrong("G4", f"call {nonce} got {outcome} and sent={sent}")
        if sent == "no":
            if arrived:
                self.wrong("G4", f"call {nonce} got {outcome} with sent=no, although a worker has its request")
            if op.op.session is None and op.op.kind in ("echo", "fail", "big") and op.number in self.torn:
                self.wrong("G4", f"call {nonce} got {outcome} with sent=no, although a part of its request was written")
            self.unsent[nonce] = f"{outcome}, sent=no"
        worker = seen.workers.get(worker_id or 0)
        if sent == "yes" and not arrived and (worker is None or not (worker.exited_ns or worker.killed_ns)):
            self.wrong("G4", f"call {nonce} got {outcome} with sent=yes, although no worker has its request")
        if sent == "maybe" and seen.closing_ns is None and op.op.kind == "echo" and op.op.session is None:
            small = op.op.size < 300 and seen.plan.traits["pipe_bytes"] > 1000 and op.number not in self.torn
            if small and not seen.interrupted:
                self.wrong("G4", f"call {nonce} got {outcome} with sent=maybe, although its request fits into the pipe")
        ends_later = op.op.kind == "lease"  # its worker is cut off, or ended with the lease
        if (
            outcome == "CallTimeout"
            and sent != "no"
            and not ends_later
            and (worker is None or not (worker.killed_ns or worker.exited_ns))
        ):
            self.wrong("G12", f"call {nonce} got CallTimeout, but worker {worker_id} was not killed")
        cut_off = op.op.kind == "lease" and worker is not None and worker.killed_ns is not None
        if outcome == "WorkerCrashed" and seen.plan.calm and seen.closing_ns is None and not cut_off:
            self.wrong("G25", f"call {nonce} got WorkerCrashed, although nothing had gone wrong")
        innocent = worker is not None and worker.worker_id not in self.guilty and op.op.kind in INNOCENT
        if outcome == "WorkerCrashed" and innocent and seen.closing_ns is None:
            self.wrong("G25", f"call {nonce} got WorkerCrashed, although worker {worker_id} did nothing wrong")
        if outcome == "CallTimeout" and op.op.fault in PROMPT and op.op.kind == "echo" and op.granted_ns is not None:
            told_ns = max(op.granted_ns, op.entered_ns) + (op.op.service_ms + 1) * MS + seen.slack_ns
            by_stdout = not seen.plan.traits["reply_pipes"]  # else its client may sleep where nothing comes
            if by_stdout and told_ns < op.deadline_ns and worker is not None and not seen.plan.deaths:
                self.wrong(
                    "G25", f"call {nonce} got CallTimeout, although worker {worker_id} broke the protocol long before"
                )
        if outcome == "CallTimeout" and innocent and op.op.fault in ("", "split") and op.granted_ns is not None:
            pieces = 6 if op.op.kind == "big" or op.op.fault else 1
            served_ns = max(op.granted_ns, op.entered_ns) + (op.op.service_ms + pieces) * MS + seen.slack_ns
            if op.op.session is None and served_ns < op.deadline_ns:
                self.wrong(
                    "G25", f"call {nonce} got CallTimeout from worker {worker_id}, which would have answered in time"
                )
        if outcome == "PoolClosed" and seen.closing_ns is None:
            self.wrong("G22", f"call {nonce} got PoolClosed from an open pool")
        if outcome == "InvalidRequest" or outcome == "HookError":
            self.wrong("G3", f"call {nonce} got {outcome}")

    def on_ended(self, index: int, session: str, found: int) -> None:
        """A session was ended."""
        self.own_ends += found

    def on_status(
        self, submitted: int, in_flight: int, outcomes: dict[str, int], workers: list[Any], waiting: int
    ) -> None:
        """A client has asked for the status."""
        seen = self.seen
        if submitted != in_flight + sum(outcomes.values()):
            self.wrong("G27", f"{submitted} calls were submitted: {in_flight} and {outcomes}")
        if len(workers) > seen.most:
            self.wrong("G14", f"{len(workers)} workers live")
        if not seen.interrupted and seen.exact and not self.own_ends:
            for outcome, count in self.counts.items():
                if outcomes.get(outcome, 0) < count:
                    self.wrong("G27", f"{count} calls got {outcome}, and the statistics say {outcomes}")
        if (
            seen.exact
            and not seen.interrupted
            and seen.closing_ns is None
            and not (
                sum(not op.doubtful for op in seen.waiting.values())
                <= waiting
                <= len(seen.waiting) + len(seen.own_waiting)
            )
        ):
            self.wrong("G27", f"{len(seen.waiting)} calls wait, but the status says {waiting}")

    def on_final(
        self, submitted: int, in_flight: int, outcomes: dict[str, int], sessions: list[Any], state: str
    ) -> None:
        """The pool is closed, and every client has ended."""
        seen = self.seen
        if in_flight or submitted != sum(outcomes.values()):
            self.wrong("G27", f"{submitted} calls were submitted, {in_flight} are in flight after the end: {outcomes}")
        if any(op.kind == "end" for op in seen.plan.ops):
            return  # the ends of sessions are calls too
        told, counted = sum(outcomes.values()), sum(self.counts.values())
        if not counted <= told <= counted + self.leases_cancelled:
            self.wrong("G27", f"clients have {counted} outcomes, {dict(self.counts)}; the pool counts {outcomes}")
        differing = sum(abs(outcomes.get(name, 0) - self.counts[name]) for name in {*outcomes, *self.counts})
        if differing > 2 * self.cancelled:
            self.wrong("G27", f"clients have the outcomes {dict(self.counts)}; the pool counts {outcomes}")

    def at_end(self) -> None:
        """Check the rules that apply to the whole history."""
        for op in self.seen.seen.values():
            kind = op.op.kind
            if not op.ended:
                self.wrong("G3", f"operation {op.op.index} has not ended")
            wanted = op.op.count if kind.startswith("batch") else 0 if kind in ("lease", "status", "end") else 1
            if len(op.outcomes) < wanted and "Cancelled" not in op.outcomes.values():
                self.wrong("G3", f"operation {op.op.index} ({kind}) has {len(op.outcomes)} of {wanted} outcomes")
        for nonce, times in self.executed.items():
            op_of = self.seen.op_of(nonce)
            if times > 1 and (op_of is None or op_of.op.session is None):
                self.wrong("G4", f"call {nonce} was executed {times} times")

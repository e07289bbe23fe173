"""The rules of starts: their timeout, the back-off after failures, and the circuit. Pure."""

from __future__ import annotations

from poolproof.harness.simulation.plan import MS
from poolproof.harness.simulation.properties.observed import Rules

LONGEST_DELAY_NS = 1_000_000_000
FIRST_DELAY_NS = 50 * MS
EARLY_NS = 1_000_000_000
"""A worker that ends by itself this soon after it was ready, and before it served a call, has ended early."""
FREE_EARLY_ENDS = 2
"""How many workers may end early in a row, for each place of the pool, without a delay of starts."""


class StartRules(Rules):
    """The rules of starts: guarantee G13, and G15 for lazy pools."""

    def prepare(self) -> None:
        """Set up the state of these rules before the first note."""
        self.failures = 0
        self.failed_ns = 0
        self.unlucky = 0
        self.early_until_ns = 0
        self.tripped_ns = -(10**15)
        self.stuck: tuple[int, int] | None = None
        self.refused: set[int] = set()
        self.burst = 0
        self.burst_ns = 0

    @property
    def tripped(self) -> bool:
        """Whether the circuit is open, or half open."""
        return self.failures >= self.seen.config.start_failures_to_open

    def _retry_ns(self) -> int:
        delay_ns: int
        if not self.failures:
            return 0
        if self.tripped:
            return self.failed_ns + int(self.seen.config.circuit_reset_s * 1e9)
        delay_ns = min(FIRST_DELAY_NS * 2 ** (self.failures - 1), LONGEST_DELAY_NS)
        return self.failed_ns + delay_ns

    @property
    def excused(self) -> bool:
        """Whether so many workers have ended early that the pool may count the next early ends as failed starts."""
        return self.unlucky > FREE_EARLY_ENDS * self.seen.most

    def _note_failure(self) -> None:
        # How long the pool may hold back starts at most: each failure before may still count.
        config = self.seen.config
        failures = self.unlucky + self.failures + 1
        delay_ns = min(FIRST_DELAY_NS * 2 ** (failures - 1), LONGEST_DELAY_NS)
        if failures >= config.start_failures_to_open:
            delay_ns = max(delay_ns, int(config.circuit_reset_s * 1e9))
        self.early_until_ns = self.seen.now_ns + delay_ns + 2 * self.seen.slack_ns
        if not any(worker.ready_ns for worker in self.seen.living.values()):
            for op in self.seen.waiting.values():
                op.doubtful = True

    def on_exit(self, worker_id: int) -> None:
        """A worker's process has ended."""
        worker, seen = self.seen.workers[worker_id], self.seen
        if worker.ready_ns is not None and not worker.returned and seen.now_ns - worker.ready_ns < EARLY_NS:
            self.unlucky += 1
            if self.excused:
                self._note_failure()

    def on_spawn(self, worker_id: int) -> None:
        """A worker is being started."""
        seen = self.seen
        self.burst = self.burst + 1 if seen.now_ns == self.burst_ns else 1
        self.burst_ns = seen.now_ns
        ordered = self.failed_ns == seen.now_ns and self.burst <= seen.most  # together with the one that has failed
        if seen.now_ns < self._retry_ns() and not ordered:
            wait = (self._retry_ns() - seen.now_ns) / 1e6
            self.wrong("G13", f"worker {worker_id} is started {wait} ms too early after {self.failures} failures")
        if self.tripped and not ordered and any(worker.starting for worker in seen.living.values()):
            self.wrong("G13", f"worker {worker_id} is started beside the one probe of an open circuit")
        self.stuck = None

    def on_startfail(self, worker_id: int) -> None:
        """The pool has given up the start of a worker."""
        seen = self.seen
        worker = seen.workers[worker_id]
        took = seen.now_ns - worker.spawned_ns
        limit = int(seen.config.start_timeout_s * 1e9)
        if took > limit + seen.slack_ns:
            self.wrong("G13", f"the start of worker {worker_id} was given up after {took / 1e6} ms")
        if worker.failed_ns is not None:
            return
        fault = seen.plan.starts.get(worker_id, "")
        sound = fault in ("", "noise") and worker.exited_ns is None and seen.plan.traits["start_ms"] * MS < limit
        if sound and seen.closing_ns is None and (took < limit or not seen.plan.deaths):
            self.wrong("G13", f"the start of worker {worker_id} was given up after {took / 1e6} ms, and it was sound")
        if self.excused:
            self._note_failure()
        if seen.closing_ns is None:
            self.failures += 1
            self.failed_ns = seen.now_ns
            if self.tripped:
                self.tripped_ns = seen.now_ns
                serving = any(worker.ready_ns for worker in (*seen.living.values(), *seen.dead.values()))
                self.refused = set() if serving else set(seen.waiting)

    def on_ready(self, worker_id: int) -> None:
        """The pool has read the answer to the init ping."""
        seen = self.seen
        took = seen.now_ns - seen.workers[worker_id].spawned_ns
        if took > seen.config.start_timeout_s * 1e9 + seen.slack_ns:
            self.wrong("G13", f"worker {worker_id} was ready after {took / 1e6} ms, too late")
        if seen.plan.starts.get(worker_id, "") in ("refuse", "garbage", "hang", "exit", "orphan"):
            self.wrong("G13", f"worker {worker_id} counts as ready, and its start has failed")
        if seen.workers[worker_id].exited_ns:  # its answer was read after its end
            self.unlucky += 1
            self._note_failure()
        self.burst = 0
        self.refused = set()
        if self.tripped:
            self.tripped_ns = seen.now_ns
        self.failures = 0

    def on_outcome(self, index: int, item: int, outcome: str, *_: object) -> None:
        """A client has the outcome of a call."""
        if outcome == "CircuitOpen":
            self._must_be_open(index)

    def on_no_lease(self, index: int, outcome: str, sent: str) -> None:
        """A client got no lease."""
        if outcome == "CircuitOpen":
            self._must_be_open(index)

    def _must_be_open(self, index: int) -> None:
        seen = self.seen
        if seen.now_ns <= self.early_until_ns and self.unlucky >= seen.config.start_failures_to_open:
            return
        if not self.tripped and seen.now_ns - self.tripped_ns > seen.slack_ns:
            self.wrong("G13", f"operation {index} got CircuitOpen after {self.failures} failures")
        if seen.exact and self.tripped and seen.now_ns > self._retry_ns() + seen.slack_ns:
            self.wrong("G13", f"operation {index} got CircuitOpen after the time of the probe")
        if seen.exact and any(w.idle and w.idle_ns < seen.now_ns for w in seen.living.values()):
            self.wrong("G13", f"operation {index} got CircuitOpen while a worker is idle")

    def on_quiet(self) -> None:
        """Nothing more happens at this moment, and at least one client is waiting."""
        seen, now = self.seen, self.seen.now_ns
        for number in self.refused & seen.waiting.keys():
            if now - self.tripped_ns > seen.slack_ns and seen.closing_ns is None and not seen.interrupted:
                self.wrong("G13", f"call {number} waits although the circuit has opened, and no worker serves")
        needed = next(
            (n for n, op in seen.waiting.items() if op.op.session is None and not op.ended and op.until_ns > now), None
        )
        supply = any(worker.idle or worker.starting for worker in seen.living.values())
        if (
            needed is None
            or supply
            or len(seen.living) + len(seen.dead) >= seen.most
            or seen.unreaped  # they keep their places, and the pool looks for their ends
            or now <= max(self._retry_ns(), self.early_until_ns)
            or seen.closing_ns
        ):
            self.stuck = None
        elif self.stuck is None or self.stuck[0] != needed:
            self.stuck = needed, now
        elif now - self.stuck[1] > 2 * seen.slack_ns:
            self.wrong("G6", f"calls wait, {len(seen.living)} workers live, and none is started")

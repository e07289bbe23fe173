"""The rules of workers: how many live, when they are retired and pinged, and that none is lost. Pure."""

from __future__ import annotations

from typing import Any

from poolproof.harness.simulation.plan import MS
from poolproof.harness.simulation.properties.observed import Rules, SeenWorker

RECOVERY_NS = 2500 * MS


class WorkerRules(Rules):
    """The rules of workers: guarantees G8, G12, G14, G15, G16, N32 and N37."""

    def prepare(self) -> None:
        """Set up the state of these rules before the first note."""
        self.floor = self.seen.floor
        self.pings: list[int] = []
        self.last_change_ns = 0
        self.excess: dict[int, int] = {}

    def on_warm(self, ready: int, wanted: int) -> None:
        """`warm_up` has returned. From then on an idle pool may shrink to its own size again."""
        if ready > self.seen.most:
            self.wrong("G14", f"{ready} workers are ready")

    def on_spawn(self, worker_id: int) -> None:
        """A worker is being started."""
        seen = self.seen
        self.last_change_ns = seen.now_ns
        living = seen.living.values()
        if len(living) + len(seen.unreaped) >= seen.most:
            what = f"{len(living)} live and {len(seen.unreaped)} are not reaped"
            self.wrong("G14", f"worker {worker_id} is started while {what}; the limit is {seen.most}")
        if seen.closing_ns is not None:
            self.wrong("G22", f"worker {worker_id} is started in a pool that is closed")
        if (
            seen.exact
            and not seen.interrupted
            and not seen.plan.traits["warm_up"]
            and len(living) >= self.floor
            and seen.config.max_age_s is None
        ):
            free = [
                worker for worker in living if worker.idle and worker.idle_ns < seen.now_ns
            ]  # others may be leaving
            supply = sum(worker.starting for worker in living) + sum(not self._worn(worker) for worker in free)
            if len(seen.waiting) + len(seen.own_waiting) <= supply:
                what = f"{len(living)} live, {supply} are free or starting, and {len(seen.waiting)} calls wait"
                self.wrong("G15", f"worker {worker_id} is started without need: {what}")

    def _worn(self, worker: SeenWorker) -> bool:
        # Whether the worker may be about to leave, for the number of its requests.
        limit = self.seen.config.max_requests
        return limit is not None and 4 * (worker.served + worker.leases) >= 3 * limit

    def on_free(self, worker_id: int, number: int, unread: int) -> None:
        """A worker is taken from a call; `unread`: bytes that the worker sent are left."""
        seen = self.seen
        sure = [w for w in self._staying() if w.worker_id not in self.excess]  # those are about to leave
        if seen.waiting or seen.own_waiting or seen.closing_ns is not None or len(sure) <= max(seen.size, self.floor):
            return
        worker = seen.workers[worker_id]
        sound = not (unread or worker.outstanding or worker.killed_ns or worker.exited_ns)
        if seen.exact and sound and number in seen.by_number:
            self.excess[worker_id] = seen.now_ns

    def _staying(self) -> list[SeenWorker]:
        return [w for w in self.seen.living.values() if not (w.killed_ns or w.retired_ns or w.failed_ns)]

    def _not_excess(self, worker_id: int) -> None:
        since_ns = self.excess.pop(worker_id, None)
        if since_ns is not None and self.seen.now_ns - since_ns > self.seen.slack_ns:
            self.wrong("G15", f"worker {worker_id} is above the pool's size, and was kept while no call waited")

    def at_end(self) -> None:
        """Check the rules that apply to the whole history."""
        for worker_id in list(self.excess):
            self._not_excess(worker_id)

    def on_retire(self, worker_id: int) -> None:
        """The pool asks a worker to leave."""
        self._not_excess(worker_id)
        seen, config = self.seen, self.seen.config
        if len(self._staying()) - 1 <= max(seen.size, self.floor):
            self.excess.clear()  # this worker leaves in place of one that was returned at the same time
        worker = seen.workers[worker_id]
        self.last_change_ns = seen.now_ns
        if worker.holder is not None:
            self.wrong("G16", f"worker {worker_id} is retired while call {worker.holder} holds it")
        if seen.closing_ns is not None or seen.interrupted or seen.plan.traits["no_cleanup"]:
            return
        age, idle = seen.now_ns - worker.spawned_ns, seen.now_ns - worker.idle_ns
        recent_ns = seen.now_ns - seen.late_ns  # what the pool may not have seen yet
        lasting = [
            w
            for w in (*seen.living.values(), *seen.gone)
            if (w.killed_ns or recent_ns) >= recent_ns <= (w.exited_ns or recent_ns)
            and not w.failed_ns
            and w.retired_ns in (None, seen.now_ns)  # decided together with others of this moment
        ]
        reasons = [
            config.max_requests is not None and 4 * (worker.served + worker.leases) >= 3 * config.max_requests,
            config.max_age_s is not None and age >= config.max_age_s * 0.9e9,
            config.idle_timeout_s is not None and idle >= config.idle_timeout_s * 1e9 and len(lasting) > self.floor,
            len(lasting) > seen.size,
            config.overflow > 0 and (not seen.exact or bool(seen.plan.starts)),
        ]
        if not any(reasons):
            self.wrong("G16", f"worker {worker_id} is retired without a reason: {worker.served} served, {idle} ns idle")

    def on_grant(self, worker_id: int, number: int) -> None:
        """A worker is given to a call."""
        self._not_excess(worker_id)
        seen = self.seen
        if number in seen.by_number or number in seen.own:
            return
        interval = seen.config.ping_interval_s  # the pool itself takes an idle worker, for a ping
        worker = seen.workers[worker_id]
        if interval is None:
            self.wrong("N32", f"worker {worker_id} is pinged, and pings are off")
            return
        idle_ns = seen.now_ns - worker.idle_ns
        if idle_ns < interval * 1e9:
            self.wrong("N32", f"worker {worker_id} is pinged after {idle_ns / 1e6} ms of {interval} s")
        self.pings = [at for at in self.pings if at > seen.now_ns - interval * 1e9]
        self.pings.append(seen.now_ns)
        if len(self.pings) > 2 * seen.config.max_idle_pings and seen.config.session_ttl_s is None:
            self.wrong("N37", f"{len(self.pings)} pings within one interval")

    def on_exit(self, worker_id: int) -> None:
        """A worker's process has ended."""
        self._not_excess(worker_id)
        self.last_change_ns = self.seen.now_ns

    def on_settled(self, workers: list[tuple[int, str]], floor: int, waiting: int, held: list[int]) -> None:
        """The pool had time to become quiet after the last call."""
        seen, config = self.seen, self.seen.config
        now = seen.now_ns
        if waiting:
            self.wrong("G9", f"{waiting} calls wait, although every client has ended")
        held = [worker_id for worker_id in held if not self._owes(worker_id)]
        if held and not config.ping_interval_s and not config.session_ttl_s:
            self.wrong("G26", f"the workers {held} are held, although every client has ended")
        if floor < self.floor:
            self.wrong("G8", f"the pool keeps at least {floor} workers; it was asked to keep {self.floor}")
        for worker in seen.workers.values():
            if worker.retired_ns and not worker.exited_ns and now - worker.retired_ns > RECOVERY_NS:
                self.wrong("G12", f"worker {worker.worker_id} does not leave, and was not killed")
            if worker.exited_ns and not worker.released_ns and now - worker.exited_ns > 100 * MS:
                self.wrong("G12", f"worker {worker.worker_id} has ended and was not reaped")
        if now - self.last_change_ns < RECOVERY_NS or config.max_age_s is not None:
            self._aged(now)
            return
        ready = [worker for worker in seen.living.values() if worker.ready_ns and not worker.killed_ns]
        least, most = self.floor, max(seen.size, self.floor)
        if config.idle_timeout_s is not None:
            most = self.floor
        if not least <= len(ready) <= most:
            self.wrong("G8", f"{len(ready)} workers are ready after all is quiet, not {least} to {most}")
        interval = config.ping_interval_s
        if interval is not None and not config.max_requests:
            longest = (len(ready) / config.max_idle_pings + 3) * interval * 1e9 + 1000 * MS
            for worker in ready:
                if now - worker.pinged_ns > longest:
                    self.wrong("N36", f"worker {worker.worker_id} was not pinged for {now - worker.pinged_ns} ns")

    def _owes(self, worker_id: int) -> bool:
        # Whether the pool may still await what this worker owes an abandoned call.
        op = self.seen.by_number.get(self.seen.workers[worker_id].holder or 0)
        kept = op is not None and op.op.interrupt == "cancel" and self.seen.plan.traits["keep_on_cancel"]
        return bool(kept) and op is not None and self.seen.now_ns < op.deadline_ns

    def _aged(self, now: int) -> None:
        age_s = self.seen.config.max_age_s
        if age_s is None or self.seen.plan.starts or any(kind == "stubborn" for _, kind in self.seen.plan.deaths):
            return
        for worker in self.seen.living.values():
            if now - worker.spawned_ns > age_s * 3e9 + 1000 * MS and worker.idle:
                self.wrong("G16", f"worker {worker.worker_id} is {(now - worker.spawned_ns) / 1e9} s old")

    def on_error(self, message: str, error: str) -> None:
        """The pool has logged an error of its own."""
        if "could not be started" not in message:
            self.wrong("G24", f"the pool met a fault of its own: {message} {error}")

    def on_supervisor_waits(self) -> None:
        """The supervisor waits while other work depends on it, which it never may."""
        self.wrong("G10", "the supervisor waits, which it never may")

    def on_status(self, submitted: int, in_flight: int, outcomes: Any, workers: list[Any], waiting: int) -> None:  # noqa: ANN401
        """A client has asked for the status."""
        limit = self.seen.config.max_requests
        for worker_id, _, served in workers:
            worker = self.seen.workers[worker_id]
            if limit is None and self.seen.plan.calm and served > worker.served + worker.leases:
                self.wrong("G27", f"worker {worker_id} has served {worker.served} calls, but the status says {served}")

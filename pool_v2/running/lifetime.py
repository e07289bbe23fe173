"""The pool as a whole: its begin, its size, its state, and its end."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from functools import partial

import msgspec

from poolproof.bridge import EventKind, Observer, PoolClosed, PoolConfig, PoolStatus, Statistics, WorkerStatus
from poolproof.bridge.config import duration
from poolproof.bridge.interface import PoolFigures
from poolproof.bridge.wire.transport import Figures
from poolproof.pool_v2.core.accounts import IN_FLIGHT
from poolproof.pool_v2.core.behaviour import WorkerBehaviour
from poolproof.pool_v2.core.worker_table import NEVER_NS, Limits
from poolproof.pool_v2.running.duties import Duties
from poolproof.pool_v2.running.hooks import describe
from poolproof.pool_v2.running.platform import MACHINE, Platform
from poolproof.pool_v2.running.runtime import Runtime
from poolproof.pool_v2.running.supervisor import Supervisor

LAST_CALLS_S = 0.5
"""How long the close of an observed pool waits for the outcomes of calls that it has ended, in seconds."""
LAST_CALLS_LOOK_S = 0.001
DRAIN_LOOK_S = 0.01
"""How often `drain` checks whether all calls have ended, in seconds."""
QUANTILES = 100
"""How many quantiles of the last response times a pool tells who asks for its figures."""
END_TIMEOUT_S = 5.0
"""How long killed workers may take to end at close, in seconds."""


class Lifetime(Runtime):
    """A pool that can be begun, warmed up, resized, drained and closed."""

    def __init__(
        self,
        config: PoolConfig,
        observer: Observer | None,
        behaviour: WorkerBehaviour | None,
        platform: Platform = MACHINE,
    ) -> None:
        super().__init__(config, observer, behaviour, platform)
        self._closed = threading.Event()
        self._closing = threading.RLock()
        self._close_begun = False
        self._warming = 0
        self._min_workers = config.min_workers

    def begin(self, duties: Duties) -> None:
        """Start the supervisor, which delegates slow work to `duties`. If that fails, the whole pool is shut down."""
        self.duties = duties
        try:
            self.supervisor = Supervisor(
                self.coordinator,
                self.lock,
                self.process_manager,
                duties,
                start_timeout_s=self.config.start_timeout_s,
                log=self.log,
                platform=self.platform,
            )
            figures = self.process_manager.open_figures()
            if figures is not None:
                self.supervisor.watch.add(figures.fd, partial(self._tell_figures, figures))
            self.supervisor.start()
        except BaseException:
            if self.log is not None:
                self.log.close()
            self.process_manager.shut_down()
            raise

    def warm_up(self, n: int, deadline: int) -> int:
        """Wait until `n` workers are ready, the deadline, or an open circuit. Returns how many are ready.

        Raises PoolClosed.
        """
        coordinator = self.coordinator
        with self.lock:
            self._require_open()
            self._warming += 1
            coordinator.floor = max(coordinator.floor, n)
        try:
            self.supervisor.look()
            with self.lock:
                while coordinator.ready_workers < min(n, coordinator.limits.size):
                    self._require_open()
                    if coordinator.circuit.refuses(self.now_ns()):
                        break
                    if self.clock.remaining_s(deadline) <= 0:
                        break
                    self.supervisor.progress.wait(self.clock.remaining_s(deadline))
                return coordinator.ready_workers
        finally:
            with self.lock:
                self._warming -= 1
                if not self._warming:  # afterwards an idle pool may shrink again
                    coordinator.floor = coordinator.limits.floor

    def _require_open(self) -> None:
        if self.coordinator.refusing:
            what = "closed" if self.coordinator.closing else "draining"
            raise PoolClosed(f"pool {self.process_manager.name!r} is {what}")

    def resize(self, n: int) -> None:
        """Change the pool's size to `n` workers. Does not wait. Raises ConfigError and PoolClosed."""
        floor = None if self._min_workers is None else min(self._min_workers, n)
        config = msgspec.structs.replace(self.config, workers=n, min_workers=None)  # checks `n` first
        config = msgspec.structs.replace(config, min_workers=floor)
        with self.lock:
            self._require_open()
            self.config = config
            woken = self.coordinator.resize(Limits.of(config))
            if self._warming:  # it stays warm until the last `warm_up` has returned
                self.coordinator.floor = n
            self.supervisor.progress.notify_all()
        self.supervisor.wake(woken)
        self.supervisor.look()

    def drain(self, timeout_s: float | None) -> bool:
        """Refuse new calls, wait until those that have begun have ended, then close. Returns whether all have ended."""
        until = NEVER_NS if timeout_s is None else self.clock.deadline_ns(duration("timeout_s", timeout_s))
        with self.lock:
            self.coordinator.drain()
        last = next(self.ids)  # later calls are refused
        while not (done := self._is_drained(last)) and not self.coordinator.closing and self.now_ns() < until:
            self.clock.sleep(DRAIN_LOOK_S)
        self.close(self.config.close_grace_s if done else 0.0)
        return done

    def _is_drained(self, last: int) -> bool:
        calls = self.accounts.calls.copy()
        if any(number < last and outcome == IN_FLIGHT for number, outcome in calls.items()):
            return False
        with self.lock:
            return self.coordinator.drained

    def stop_because(self, reason: object) -> None:
        """Close the pool from within. Later calls get the reason in their PoolClosed. Only the first reason counts."""
        with self.lock:
            if self.coordinator.closing or self.coordinator.stop_reason:
                return
            self.coordinator.stop_reason = describe(reason) or "stopped by a hook"
            self.hooks.stop_reason = reason
        threading.Thread(target=self.close, args=(self.config.close_grace_s,), name="pool-v2-stop", daemon=True).start()

    def status(self) -> PoolStatus:
        """Return a consistent snapshot."""
        outcomes, in_flight = self.accounts.sum_up()
        coordinator = self.coordinator
        with self.lock:
            workers = tuple(
                WorkerStatus(
                    worker_id=worker.worker_id,
                    pid=worker.transport.pid if worker.reachable else 0,
                    state=coordinator.state_of(worker).value,
                    served=worker.served,
                )
                for worker in coordinator.workers.values()
                if not worker.exited_ns or worker.worker_id in coordinator.held  # others have no living process
            )
            return PoolStatus(
                name=self.process_manager.name,
                version="v2",
                state=self._state(),
                target=coordinator.limits.size,
                workers=workers,
                waiting=coordinator.waiting,
                sessions=len(coordinator.sessions),
                shared_memory_bytes=sum(
                    worker.transport.memory.size
                    for worker in coordinator.workers.values()
                    if worker.reachable and worker.transport.memory is not None
                ),
                statistics=Statistics(
                    submitted=sum(outcomes.values()) + in_flight, in_flight=in_flight, outcomes=outcomes
                ),
            )

    def figures(self) -> PoolFigures:
        """Return what `poolproof top` shows of this pool."""
        status = self.status()
        with self.lock:
            times = list(self.coordinator.response_ns)
        times.sort()
        most = min(len(times), QUANTILES)
        return PoolFigures(
            at_ns=self.now_ns(),
            name=status.name,
            version=status.version,
            state=status.state,
            target=status.target,
            workers=dict(Counter(worker.state for worker in status.workers)),
            waiting=status.waiting,
            in_flight=status.statistics.in_flight,
            sessions=status.sessions,
            ended=dict(status.statistics.outcomes),
            response_s=tuple(times[place * len(times) // most] / 1e9 for place in range(most)),
        )

    def _tell_figures(self, asked: Figures) -> None:
        # In the supervisor's thread, when somebody asks.
        if not asked.answer(self.figures):
            self.supervisor.watch.remove(asked.fd)

    def _state(self) -> str:
        if self._closed.is_set():
            return "closed"
        if self.coordinator.closing:
            return "closing"
        return "draining" if self.coordinator.refusing else "open"

    def stop_serving(self) -> None:
        """Refuse new and waiting calls, and retire idle workers. Idempotent; does not wait."""
        with self.lock:
            self.supervisor.refused += self.coordinator.waiting_calls()
            woken = self.coordinator.close()
            self.supervisor.progress.notify_all()
        self.supervisor.wake(woken)
        self.supervisor.look()

    def end_workers(self, signum: signal.Signals) -> None:
        """`stop_serving`, and send `signum` to each leased worker."""
        self.stop_serving()
        with self.lock:
            leased = [ticket.worker for ticket in self.coordinator.open_calls()]
        for worker in leased:
            if worker is not None and worker.reachable:
                worker.transport.signal(signum)

    def close(self, grace_s: float) -> None:
        """Refuse calls, drain for at most `grace_s` seconds, end and reap workers. Idempotent.

        A second caller waits for the first.
        """
        deadline = self.clock.deadline_ns(min(grace_s, 366 * 86400.0))
        with self._closing:
            if self._closed.is_set() or self._close_begun:
                return  # already closed, or a hook calls `close` during the close in this thread
            self._close_begun = True
            try:
                self.stop_serving()
                if not self._await_releases(deadline):
                    with self.lock:
                        orders = self.coordinator.kill_rest()
                    for order in orders:
                        if order.worker is not None and order.worker.reachable:
                            self.supervisor.signal(order.act, order.worker, order.reason)
                    self._await_releases(self.clock.deadline_ns(END_TIMEOUT_S))
                self.duties.stop()
                self.supervisor.stop()
                self.duties.stop()  # the supervisor may have handed over a job meanwhile, such as the last hooks
                self._let_go()
                self.replies.close()
                self.hooks.terminate_pool()
                self.process_manager.shut_down()
                self._closed.set()
                if self.log is not None:
                    self.log.note(EventKind.CLOSE)
                    self._await_outcomes(self.clock.deadline_ns(LAST_CALLS_S))
                    self.log.close()
            finally:
                self._close_begun = False

    def _let_go(self) -> None:
        # The supervisor no longer watches the workers. If a worker outlived its kill, its client now checks it and the
        # clock.
        for ticket in self.coordinator.open_calls():
            worker = ticket.worker
            if worker is not None:
                if worker.reachable:
                    worker.transport.watched = False
                ticket.wake()

    def _await_outcomes(self, deadline: int) -> None:
        # Clients that the close has woken are about to note the outcomes of their calls.
        while IN_FLIGHT in self.accounts.calls.copy().values() and self.now_ns() < deadline:
            self.clock.sleep(LAST_CALLS_LOOK_S)

    def _await_releases(self, deadline: int) -> bool:
        with self.lock:
            while self.coordinator.workers and self.clock.remaining_s(deadline) > 0:
                self.supervisor.progress.wait(self.clock.remaining_s(deadline))
            return not self.coordinator.workers


def close_in_background(pool: Lifetime) -> None:
    """Close at once in a new thread, because a finalizer may run in any thread and under any lock.

    If no thread can be started, the supervisor tries again. In a forked child the copy is only dropped, because the
    workers belong to the parent.
    """
    try:
        pool.process_manager.require_owner()
    except PoolClosed:
        return
    try:
        threading.Thread(target=pool.close, args=(0.0,), name="pool-v2-finalizer", daemon=True).start()
    except RuntimeError:  # the process has no thread left, or the interpreter ends
        pool.open.dropped.append(partial(close_in_background, pool))

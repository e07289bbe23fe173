"""The pool's housekeeper: runs slow jobs and application code outside the supervisor's thread.

It calls the hooks that belong to no client, pings idle workers, ends unused sessions, checks the memory of workers, and
finds leases whose client is gone. Its thread starts with the first job.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from poolproof.bridge import EventKind, PoolClosed
from poolproof.bridge.lifecycle import WorkerState
from poolproof.bridge.wire.exchange import run
from poolproof.pool_v2.calls.calls import Calls
from poolproof.pool_v2.calls.lease import Lease, Open, Record
from poolproof.pool_v2.calls.leases import Leases
from poolproof.pool_v2.calls.streaming import Streaming
from poolproof.pool_v2.core.ticket import Ticket, TicketState
from poolproof.pool_v2.core.worker_table import NEVER_NS, Worker
from poolproof.pool_v2.running.duties import Duties
from poolproof.pool_v2.running.hooks import Removed, Stopped, describe
from poolproof.pool_v2.running.lifetime import Lifetime
from poolproof.pool_v2.running.pings import Pings

BEAT_NS = 500_000_000
EXPIRED_AT_ONCE = 256
"""How many sessions are looked at for their expiry while the lock is held once."""
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
JOIN_TIMEOUT_S = 5.0
logger = logging.getLogger(__name__)


class Housekeeper(Duties):
    """Runs jobs one after another in the order of arrival; a second thread does the same with the terminate hooks.

    Each init hook runs in its own thread.
    """

    def __init__(self, runtime: Lifetime, leases: Leases, calls: Calls, streaming: Streaming) -> None:
        self._runtime = runtime
        self._leases = leases
        self._calls = calls
        self._streaming = streaming
        self._jobs = runtime.platform.jobs(f"{runtime.process_manager.name}-housekeeper", self._run)
        # A slow terminate hook must not delay the pings and messages of other workers.
        self._farewells = runtime.platform.jobs(f"{runtime.process_manager.name}-farewells", self._run)
        self._visited: Worker | None = None
        """The worker whose `message` or `ping` hook was called last, and may still be running."""
        self.post = self._jobs.post
        """Queue a job for the housekeeper's thread. May be called from any thread."""
        self._lock = threading.Lock()  # guards `_initialising` and `_initialised`
        self._starters: list[threading.Thread] = []
        self._next_beat_ns = 0
        self._pings = Pings(runtime, lambda worker, after_ns: self.post(partial(self._ping, worker, after_ns)))
        self._expiring = False  # whether a job that ends unused sessions is queued or runs
        self._initialising: dict[int, bool] = {}  # by worker id: whether the worker has ended meanwhile
        self._initialised: set[int] = set()

    # These methods run in the supervisor's thread and must not wait.

    def started(self, worker: Worker) -> None:
        """Handle a worker that answered its init ping. With an init hook, the worker is ready only after the hook."""
        hooks = self._runtime.hooks
        if not hooks.overrides("init_worker"):
            if hooks.active:
                self._initialised.add(worker.worker_id)
            self._ready(worker)
            return
        starter = self._runtime.platform.thread(partial(self._init_worker, worker), "pool-v2-init")
        self._starters = [thread for thread in self._starters if thread.is_alive()] + [starter]
        self._initialising[worker.worker_id] = False
        try:
            starter.start()
        except RuntimeError as error:  # no more threads
            self._starters.remove(starter)
            del self._initialising[worker.worker_id]
            self._failed(worker, str(error))

    def ping(self, worker: Worker) -> None:
        """Handle a worker that has been idle for the ping interval: ping it in this cycle or in a later one."""
        self._pings.add(worker)

    def ended(self, worker: Worker, reason: str) -> None:
        """Handle a worker that has ended: call its terminate hook."""
        worker_id = worker.worker_id
        self._leases.mail.pop(worker_id, None)
        self._pings.forget(worker_id)
        kept = self._leases.reasons.pop(worker_id, None)
        with self._lock:
            known = worker_id in self._initialised
            self._initialised.discard(worker_id)
            if worker_id in self._initialising:
                self._initialising[worker_id] = True
        if known:
            told = kept if kept is not None else reason or self._plain_reason(worker)
            busy = self._visited is worker or worker_id in self._pings.begun  # its own `message` or `ping` ends first
            post = self.post if busy else self._farewells.post
            post(partial(self._runtime.hooks.terminate_worker, told, worker.state))

    def beat(self, now: int) -> int:
        """Find lost leases; every half second, also expired sessions and large workers. Returns the next time (ns)."""
        while self._runtime.open.lost:
            self._reclaim(self._runtime.open.lost.popleft(), "was dropped")
        for _ in range(len(self._runtime.open.dropped)):  # some of them are tried again with the next beat
            self._runtime.open.dropped.popleft()()
        coordinator, by_call = self._runtime.coordinator, self._runtime.open.by_call
        for worker in list(coordinator.workers.values()):
            ticket = coordinator.held.get(worker.worker_id) if worker.exited else None
            record = None if ticket is None else by_call.get(ticket.call)
            if record is not None:
                self._take_back(record, worker)
        ping_ns = self._pings.begin_some(now)
        if now >= self._next_beat_ns:
            self._next_beat_ns = now + BEAT_NS
            self._look_around(now)
        config = self._runtime.config
        restless = config.session_ttl_s is not None or config.max_memory_bytes is not None
        return min(self._next_beat_ns if restless else NEVER_NS, ping_ns)

    def _look_around(self, now: int) -> None:
        for record in list(self._runtime.open.by_call.values()):
            if not record.thread.is_alive():
                self._reclaim(record, "was not returned before its thread ended")
        runtime = self._runtime
        if runtime.config.session_ttl_s is not None and not self._expiring:
            self._expiring = True
            self.post(partial(self._end_expired, int(runtime.config.session_ttl_s * 1e9)))
        if runtime.config.max_memory_bytes is not None:
            self._weigh(runtime.config.max_memory_bytes)

    def _reclaim(self, record: Record, what: str) -> None:
        ticket, by_call = record.ticket, self._runtime.open.by_call
        if by_call.get(ticket.call) is not record or by_call.pop(ticket.call, None) is None:
            return  # the lease has already ended normally, or has another worker meanwhile
        self._streaming.reclaimed(ticket)
        if ticket.worker is None:
            if ticket.state is TicketState.WAITING:
                self._runtime.supervisor.abandon(ticket)  # the ticket of a task whose loop was closed
            return
        logger.warning(
            "pool %r: a lease of worker %s %s; it was opened at %s",
            self._runtime.process_manager.name,
            ticket.worker_id,
            what,
            "; ".join(record.opened),
        )
        self._leases.mark_ended(ticket.worker, "down")
        self._runtime.supervisor.abandon(ticket)
        if self._runtime.hooks.active:
            self.post(partial(self._runtime.hooks.cancelled, "checked_out"))

    def _take_back(self, record: Record, worker: Worker) -> None:
        # The worker of this lease has ended while its client, perhaps for a long time, does something else.
        runtime, ticket = self._runtime, record.ticket
        lease = record() if isinstance(record, Open) else None
        if lease is None or lease.owner is None:
            return  # the lease was dropped, or belongs to a task, which handles this itself
        fate = partial(self._leases.fate, lease.deadline_ns, worker)
        why = fate()
        with runtime.lock:
            if lease.busy or ticket.worker is not worker:
                return
            lease.fate = fate
            woken: list[Ticket] = []
            if worker.phase is WorkerState.STARTING:
                woken = runtime.coordinator.start_failed(
                    worker, f"its init hook was interrupted: {why}", runtime.now_ns()
                )
            runtime.coordinator.abandon(ticket)
        self._leases.mark_ended(worker, "close" if runtime.coordinator.closing else why)
        runtime.supervisor.wake(woken)
        runtime.supervisor.look()

    def _plain_reason(self, worker: Worker) -> str:
        if self._runtime.coordinator.closing:
            return "close"
        return "retired" if worker.told_ns else "exited"

    def _weigh(self, limit_bytes: int) -> None:
        runtime = self._runtime
        with runtime.lock:
            workers = list(runtime.coordinator.workers.values())
            if not all(worker.usable for worker in workers):
                return  # retire one worker at a time
        for worker in workers:
            if _resident_bytes(worker.transport.pid) > limit_bytes:
                with runtime.lock:
                    if worker.usable:
                        runtime.coordinator.retire(worker, "")  # a leased worker is ended at its checkin
                runtime.supervisor.look()
                return

    def _ready(self, worker: Worker) -> None:
        runtime = self._runtime
        runtime.supervisor.decide(lambda: runtime.coordinator.ready(worker, runtime.now_ns()))

    # These methods run in the housekeeper's own threads, unless stated otherwise.

    def broadcast(self, message: Any) -> int:  # noqa: ANN401 - the application's own
        """Send the message to every idle worker, before it serves again. Returns the number of these workers."""
        runtime = self._runtime
        with runtime.lock:
            if runtime.coordinator.closing:
                raise PoolClosed(f"pool {runtime.process_manager.name!r} is closed")
            idle = runtime.coordinator.idle_workers()
            if runtime.hooks.active:
                for worker in idle:
                    self._leases.mail.setdefault(worker.worker_id, deque()).append(message)
        for worker in idle:
            self.post(partial(self._with_idle, worker))
        return len(idle)

    def stop(self) -> None:
        """Run the remaining jobs, and end the threads. Does not wait for a hook that hangs."""
        clock = self._runtime.clock
        deadline = clock.deadline_ns(JOIN_TIMEOUT_S)
        for thread in self._starters:
            if thread is not threading.current_thread():
                thread.join(max(0.0, clock.remaining_s(deadline)))
        for jobs in (self._jobs, self._farewells):
            jobs.stop(max(0.0, clock.remaining_s(deadline)))

    def _run(self, job: Callable[[], object]) -> None:
        try:
            job()
        except BaseException:  # no other thread would see the error
            logger.exception("pool %r: a background task failed", self._runtime.process_manager.name)

    def _init_worker(self, worker: Worker) -> None:
        runtime = self._runtime
        lease, ticket = self._own_lease(runtime.config.start_timeout_s)
        with runtime.lock:
            if worker.phase is WorkerState.STARTING:
                runtime.coordinator.hold_start(worker, ticket)
                self._runtime.open.by_call[ticket.call] = Open(lease, ticket, self._runtime.open.lost.append)
        if ticket.worker is None:  # the pool was closed
            self._initialising.pop(worker.worker_id)
            return
        if runtime.log is not None:
            runtime.log.note(EventKind.ACCEPT, ticket.call, worker.worker_id)
        runtime.supervisor.look()
        reason = self._reason_after(lambda: runtime.hooks.init_worker(lease, worker))
        took = reason is None
        if took and (worker.transport.dirty or lease.fate is not None):
            reason = lease.lost() if lease.fate is not None else "its init hook left a call unfinished"
        if runtime.log is not None and not worker.transport.dirty and ticket.worker is not None:
            runtime.log.note(EventKind.CHECKIN, ticket.call, worker.worker_id)
        with runtime.lock:
            runtime.coordinator.release_start(worker, ticket)
        self._runtime.open.by_call.pop(ticket.call, None)
        if reason is not None:
            self._leases.mark_ended(worker, reason)
        with self._lock:
            gone = self._initialising.pop(worker.worker_id)
            if took and not gone:
                self._initialised.add(worker.worker_id)
        if took and gone:
            self._farewells.post(partial(runtime.hooks.terminate_worker, reason, worker.state))
        if reason is None:
            self._ready(worker)
        else:
            self._failed(worker, f"its init hook: {describe(reason)}")
        runtime.supervisor.look()

    def _reason_after(self, hook: Callable[[], object]) -> object:
        # Runs a hook. Returns the reason for which its worker has to end, or None.
        try:
            hook()
        except Removed as removed:
            return removed.args[0] or "removed"
        except Stopped as stopped:
            self._runtime.stop_because(stopped.args[0])
        except BaseException as error:  # no other thread would see the error
            return error
        return None

    def _failed(self, worker: Worker, message: str) -> None:
        runtime = self._runtime
        runtime.supervisor.decide(lambda: runtime.coordinator.start_failed(worker, message, runtime.now_ns()))

    def _ping(self, worker: Worker, interval_ns: int) -> None:
        try:
            self._with_idle(worker, interval_ns)
        finally:
            self._pings.begun.discard(worker.worker_id)

    def _with_idle(self, worker: Worker, ping_after_ns: int | None = None) -> None:
        # Leases the worker to the pool itself to deliver its messages, or for a ping if it was idle for
        # `ping_after_ns`.
        runtime = self._runtime
        lease, ticket = self._own_lease(runtime.config.ping_timeout_s)
        with runtime.lock:
            since_ns = worker.idle_since_ns
            if ping_after_ns is None and not self._leases.mail.get(worker.worker_id):
                return  # its clients have already delivered the messages
            if ping_after_ns is not None and self._runtime.now_ns() - since_ns < ping_after_ns:
                return
            if not runtime.coordinator.take(worker, ticket):
                return
            self._runtime.open.by_call[ticket.call] = Open(lease, ticket, self._runtime.open.lost.append)
        if runtime.log is not None:
            runtime.log.note(EventKind.ACCEPT, ticket.call, worker.worker_id)
        if runtime.coordinator.attention:
            runtime.supervisor.look()
        self._visited = worker

        def visit() -> None:
            self._leases.deliver(ticket)
            if ping_after_ns is not None:
                runtime.hooks.ping(lease, ticket)

        reason = self._reason_after(visit)
        if reason is not None:
            self._leases.mark_ended(worker, reason)
        worker.dirty = worker.transport.dirty
        if runtime.log is not None and not worker.transport.dirty and ticket.worker is not None:
            runtime.log.note(EventKind.CHECKIN, ticket.call, worker.worker_id)
        told = "" if reason is None else describe(reason) or "removed"
        with runtime.lock:
            woken = runtime.coordinator.put_back(ticket, self._runtime.now_ns(), since_ns=since_ns, reason=told)
        self._runtime.open.by_call.pop(ticket.call, None)
        runtime.supervisor.wake(woken)
        if runtime.coordinator.attention:
            runtime.supervisor.look()

    def _end_expired(self, ttl_ns: int) -> None:
        # Ends some sessions, and leaves the others to another job, so that the jobs that came meanwhile are not late.
        runtime, sessions = self._runtime, self._runtime.coordinator.sessions
        more = False
        try:
            with runtime.lock:
                now = runtime.now_ns()
                held, more = sessions.end_expired(ttl_ns, now, EXPIRED_AT_ONCE)
            for session in held:
                with runtime.lock:
                    unused = sessions.is_unused(session, now)
                if unused:
                    run(self._calls.expire_session(runtime.io, session.session_id))
        finally:
            if more and not runtime.coordinator.closing:
                self.post(partial(self._end_expired, ttl_ns))
            else:
                self._expiring = False

    def _own_lease(self, timeout_s: float) -> tuple[Lease, Ticket]:
        # Returns a lease for the pool itself; its calls count in no statistics.
        me, deadline = threading.get_ident(), self._runtime.clock.deadline_ns(timeout_s)
        ticket = Ticket(next(self._runtime.ids), deadline_ns=deadline, thread_id=me)
        ticket.state = TicketState.ACCEPTED
        return Lease(self._leases, ticket, counted=False, owner=me, deadline_ns=deadline), ticket


def _resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES
    except (OSError, IndexError, ValueError):
        return 0

"""The pool's housekeeper: whatever takes time or runs an application's code, away from the supervisor's thread.

It calls the hooks that belong to no client, pings idle workers, ends sessions that nobody uses, weighs workers, and
finds leases whose client is gone. It has no thread until there is something to do.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge import EventKind, PoolClosed
from bridge.clock import deadline_ns, now_ns, remaining_s
from bridge.lifecycle import WorkerState
from pool_v2.hooks import Removed, Stopped, describe
from pool_v2.lease import Lease, Open, Record
from pool_v2.orders import HEARTBEAT_NS
from pool_v2.roster import NEVER_NS, Worker
from pool_v2.supervisor import Duties
from pool_v2.ticket import Ticket, TicketState

if TYPE_CHECKING:
    from pool_v2.engine import Engine

BEAT_NS = 500_000_000
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
JOIN_TIMEOUT_S = 5.0
logger = logging.getLogger(__name__)


class Housekeeper(Duties):
    """Jobs run one after another, in the order in which they came; init hooks each in a thread of its own."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._jobs: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()  # over `_thread` and the two about init hooks
        self._starters: list[threading.Thread] = []
        self._stopped = False
        self._next_beat_ns = 0
        self._due: dict[int, Worker] = {}  # whose ping must wait for another cycle
        self._cycle_ends_ns = 0
        self._pings_left = 0
        self._ending: set[str] = set()  # the sessions whose end is a job already
        self._mail: dict[int, deque[Any]] = {}  # by worker, what it has yet to hear
        self._initialising: dict[int, bool] = {}  # by worker, whether it has ended meanwhile
        self._initialised: set[int] = set()
        self.reasons: dict[int, object] = {}
        """Why workers end, by worker, for their terminate hooks."""
        self.open: dict[int, Record] = {}
        """The open leases, by call."""
        self.lost: deque[Open] = deque()
        """Leases that were garbage-collected, put here by the interpreter."""
        self.dropped: deque[Callable[[], object]] = deque()
        """What a coroutine's finalizer could not do where it ran, perhaps under the pool's lock."""

    # In the supervisor's thread: nothing here may wait.

    def started(self, worker: Worker) -> None:
        """The worker has answered its init ping; with an init hook it is ready only after that."""
        hooks = self._engine.hooks
        if not hooks.overrides("init_worker"):
            if hooks.active:
                self._initialised.add(worker.worker_id)
            self._ready(worker)
            return
        starter = threading.Thread(target=self._init_worker, args=(worker,), name="pool-v2-init", daemon=True)
        self._starters = [thread for thread in self._starters if thread.is_alive()] + [starter]
        self._initialising[worker.worker_id] = False
        try:
            starter.start()
        except RuntimeError as error:  # no more threads
            self._starters.remove(starter)
            del self._initialising[worker.worker_id]
            self._failed(worker, str(error))

    def ping(self, worker: Worker) -> None:
        """The worker has been idle for long enough: it is asked in this cycle, or in one to come."""
        self._due.setdefault(worker.worker_id, worker)
        self._ping_some(now_ns())

    def ended(self, worker: Worker, reason: str) -> None:
        """The worker has ended: its terminate hook hears of it."""
        worker_id = worker.worker_id
        self._mail.pop(worker_id, None)
        self._due.pop(worker_id, None)
        kept = self.reasons.pop(worker_id, None)
        with self._lock:
            known = worker_id in self._initialised
            self._initialised.discard(worker_id)
            if worker_id in self._initialising:
                self._initialising[worker_id] = True
        if known:
            told = kept if kept is not None else reason or self._plain_reason(worker)
            self.post(partial(self._engine.hooks.terminate_worker, told, worker.state))

    def beat(self, now: int) -> int:
        """Look for lost leases, worn sessions and heavy workers, every half second at most; when to come again."""
        while self.lost:
            self._reclaim(self.lost.popleft(), "was dropped")
        while self.dropped:
            self.dropped.popleft()()
        for record in list(self.open.values()):
            worker = record.ticket.worker
            if worker is not None and worker.exited:
                self._take_back(record, worker)
        if self._due:
            self._ping_some(now)
        if now >= self._next_beat_ns:
            self._next_beat_ns = now + BEAT_NS
            self._look_around(now)
        config = self._engine.config
        restless = config.session_ttl_s is not None or config.max_memory_bytes is not None
        return min(self._next_beat_ns if restless else NEVER_NS, self._cycle_ends_ns if self._due else NEVER_NS)

    def _look_around(self, now: int) -> None:
        for record in list(self.open.values()):
            if not record.thread.is_alive():
                self._reclaim(record, "was left behind by its thread")
        engine = self._engine
        if engine.config.session_ttl_s is not None:
            ttl_ns = int(engine.config.session_ttl_s * 1e9)
            with engine.lock:
                worn = engine.coordinator.sessions.expired(ttl_ns, now)
            for session_id in worn:
                if session_id not in self._ending:
                    self._ending.add(session_id)
                    self.post(partial(self._end_worn, session_id, ttl_ns))
        if engine.config.max_memory_bytes is not None:
            self._weigh(engine.config.max_memory_bytes)

    def _reclaim(self, record: Record, what: str) -> None:
        ticket = record.ticket
        if self.open.pop(ticket.call, None) is None:
            return  # it had ended in order
        self._engine.streaming.reclaimed(ticket)
        if ticket.worker is None:
            if ticket.state is TicketState.WAITING:
                self._engine.supervisor.abandon(ticket)  # a task's, whose loop was closed
            return
        logger.warning(
            "pool %r: a lease of worker %s %s; it was opened at %s",
            self._engine.crew.name,
            ticket.worker_id,
            what,
            "; ".join(record.opened),
        )
        self._engine.leases.mark_ended(ticket.worker, "down")
        self._engine.supervisor.abandon(ticket)
        if self._engine.hooks.active:
            self.post(partial(self._engine.hooks.cancelled, "checked_out"))

    def _take_back(self, record: Record, worker: Worker) -> None:
        # The worker of this lease has ended, and its client does something else meanwhile, perhaps for ever.
        engine, ticket = self._engine, record.ticket
        lease = record() if isinstance(record, Open) else None
        if lease is None or lease.owner is None:
            return  # dropped, or a task's, which sees to that itself
        fate = partial(engine.leases.fate, lease.deadline_ns, worker)
        why = fate()
        with engine.lock:
            if lease.busy or ticket.worker is not worker:
                return
            lease.fate = fate
            woken: list[Ticket] = []
            if worker.phase is WorkerState.STARTING:
                woken = engine.coordinator.start_failed(worker, f"its init hook broke off: {why}", now_ns())
            engine.coordinator.abandon(ticket)
        engine.leases.mark_ended(worker, "close" if engine.coordinator.closing else why)
        engine.supervisor.wake(woken)
        engine.supervisor.look()

    def _plain_reason(self, worker: Worker) -> str:
        if self._engine.coordinator.closing:
            return "close"
        return "retired" if worker.told_ns else "exited"

    def _weigh(self, limit_bytes: int) -> None:
        engine = self._engine
        with engine.lock:
            workers = list(engine.coordinator.workers.values())
            if not all(worker.usable for worker in workers):
                return  # one at a time
        for worker in workers:
            if _resident_bytes(worker.door.pid) > limit_bytes:
                with engine.lock:
                    if worker.usable:
                        engine.coordinator.condemn(worker, "")  # a leased one when it is given back
                engine.supervisor.look()
                return

    def _ping_some(self, now: int) -> None:
        # A cycle lasts as long as the ping interval and has so many pings; who was not asked comes first in the next.
        config = self._engine.config
        interval_ns = int((config.ping_interval_s or 0.0) * 1e9)
        if now >= self._cycle_ends_ns:
            self._cycle_ends_ns = now + interval_ns
            self._pings_left = config.max_idle_pings
        while self._due and self._pings_left > 0:
            worker = self._due.pop(next(iter(self._due)))
            idle = worker.usable and worker.worker_id not in self._engine.coordinator.held
            if idle and now - worker.idle_since_ns >= interval_ns:
                self._pings_left -= 1
                self.post(partial(self._with_idle, worker, interval_ns))

    def _ready(self, worker: Worker) -> None:
        engine = self._engine
        engine.supervisor.decide(lambda: engine.coordinator.ready(worker, now_ns()))

    # In the housekeeper's own threads.

    def post(self, job: Callable[[], object]) -> None:
        """Have a job done some time soon. From any thread."""
        if self._stopped:
            return
        self._jobs.put(job)
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    name = f"{self._engine.crew.name}-housekeeper"
                    thread = threading.Thread(target=self._run, name=name, daemon=True)
                    thread.start()
                    self._thread = thread

    def broadcast(self, message: Any) -> int:  # noqa: ANN401 - the application's own
        """Give the message to every worker that is idle now, before it serves anybody; how many that are."""
        engine = self._engine
        with engine.lock:
            if engine.coordinator.closing:
                raise PoolClosed(f"pool {engine.crew.name!r} is closed")
            idle = engine.coordinator.idle_workers()
            if engine.hooks.active:
                for worker in idle:
                    self._mail.setdefault(worker.worker_id, deque()).append(message)
        for worker in idle:
            self.post(partial(self._with_idle, worker))
        return len(idle)

    def deliver(self, ticket: Ticket) -> None:
        """Let the ticket's worker hear what was broadcast while it was idle. Raises Removed."""
        mail = None if ticket.worker_id is None else self._mail.get(ticket.worker_id)
        while mail:
            self._engine.hooks.message(mail.popleft(), ticket)

    def keep_watch(self) -> None:
        """A lease was opened: wake the supervisor if it would sleep for long, so that it finds leases that are lost."""
        if self._engine.coordinator.watch_ns > now_ns() + 2 * HEARTBEAT_NS:
            self._engine.supervisor.look()

    def stop(self) -> None:
        """Do what is still to be done, and end the threads; a hook that does not return is left behind."""
        self._stopped = True
        self._jobs.put(None)
        self._jobs.put(None)  # one more, for the case below
        deadline = deadline_ns(JOIN_TIMEOUT_S)
        me = threading.current_thread()
        if self._thread is me:
            self._run()  # a hook closes the pool: the jobs after it are done here
        for thread in [*self._starters, *([self._thread] if self._thread is not None else [])]:
            if thread is not me:
                thread.join(max(0.0, remaining_s(deadline)))

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except BaseException:  # nobody but this thread would hear of it
                logger.exception("pool %r: a job of its housekeeper failed", self._engine.crew.name)

    def _init_worker(self, worker: Worker) -> None:
        engine = self._engine
        lease, ticket = self._own_lease(engine.config.start_timeout_s)
        with engine.lock:
            if worker.phase is WorkerState.STARTING:
                engine.coordinator.hold_start(worker, ticket)
                self.open[ticket.call] = Open(lease, ticket, self.lost.append)
        if ticket.worker is None:  # the pool was closed
            self._initialising.pop(worker.worker_id)
            return
        engine.supervisor.emit(EventKind.ACCEPT, call=ticket.call, worker=worker.worker_id)
        engine.supervisor.look()
        reason: object = None
        took = False
        try:
            engine.hooks.init_worker(lease, worker)
            took = True
        except Removed as removed:
            reason = removed.args[0] or "removed"
        except BaseException as error:  # nobody but this thread would hear of it
            reason = error
        if took and (worker.door.dirty or lease.fate is not None):
            reason = lease.lost() if lease.fate is not None else "its init hook broke off a call"
        if not worker.door.dirty and ticket.worker is not None:
            engine.supervisor.emit(EventKind.CHECKIN, call=ticket.call, worker=worker.worker_id)
        with engine.lock:
            engine.coordinator.release_start(worker, ticket)
        self.open.pop(ticket.call, None)
        if reason is not None:
            engine.leases.mark_ended(worker, reason)
        with self._lock:
            gone = self._initialising.pop(worker.worker_id)
            if took and not gone:
                self._initialised.add(worker.worker_id)
        if took and gone:
            self.post(partial(engine.hooks.terminate_worker, reason, worker.state))
        if reason is None:
            self._ready(worker)
        else:
            self._failed(worker, f"its init hook: {describe(reason)}")
        engine.supervisor.look()

    def _failed(self, worker: Worker, message: str) -> None:
        engine = self._engine
        engine.supervisor.decide(lambda: engine.coordinator.start_failed(worker, message, now_ns()))

    def _with_idle(self, worker: Worker, ping_after_ns: int | None = None) -> None:
        # Lease the worker to the pool itself for its mail, or for a ping if it has been idle for so long.
        engine = self._engine
        lease, ticket = self._own_lease(engine.config.ping_timeout_s)
        with engine.lock:
            since_ns = worker.idle_since_ns
            if ping_after_ns is None and not self._mail.get(worker.worker_id):
                return  # its clients have heard it
            if ping_after_ns is not None and now_ns() - since_ns < ping_after_ns:
                return
            if not engine.coordinator.take(worker, ticket):
                return
            self.open[ticket.call] = Open(lease, ticket, self.lost.append)
        engine.supervisor.emit(EventKind.ACCEPT, call=ticket.call, worker=worker.worker_id)
        if engine.coordinator.attention:
            engine.supervisor.look()
        reason: object = None
        try:
            self.deliver(ticket)
            if ping_after_ns is not None:
                engine.hooks.ping(lease, ticket)
        except Removed as removed:
            reason = removed.args[0] or "removed"
        except Stopped as stopped:
            engine.stop_because(stopped.args[0])
        except BaseException as error:  # nobody but this thread would hear of it
            reason = error
        if reason is not None:
            engine.leases.mark_ended(worker, reason)
        worker.dirty = worker.door.dirty
        if not worker.dirty and ticket.worker is not None:
            engine.supervisor.emit(EventKind.CHECKIN, call=ticket.call, worker=worker.worker_id)
        told = "" if reason is None else describe(reason) or "removed"
        with engine.lock:
            woken = engine.coordinator.put_back(ticket, now_ns(), since_ns=since_ns, reason=told)
        self.open.pop(ticket.call, None)
        engine.supervisor.wake(woken)
        if engine.coordinator.attention:
            engine.supervisor.look()

    def _end_worn(self, session_id: str, ttl_ns: int) -> None:
        engine = self._engine
        try:
            with engine.lock:
                worn = engine.coordinator.sessions.expired(ttl_ns, now_ns())
            if session_id in worn:  # nobody has used it meanwhile
                engine.sessions.end(session_id)
        finally:
            self._ending.discard(session_id)

    def _own_lease(self, timeout_s: float) -> tuple[Lease, Ticket]:
        # A lease for the pool itself, which counts in no statistics.
        me, deadline = threading.get_ident(), deadline_ns(timeout_s)
        ticket = Ticket(self._engine.next_id(), deadline_ns=deadline, thread_id=me)
        ticket.state = TicketState.ACCEPTED
        return Lease(self._engine, ticket, counted=False, owner=me, deadline_ns=deadline), ticket


def _resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES
    except (OSError, IndexError, ValueError):
        return 0

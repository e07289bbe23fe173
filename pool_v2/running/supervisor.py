"""V2's supervisor: one thread that starts workers, watches them and the calls' deadlines, and reaps them.

It affects a call only by ending its worker. It does not use the queue: under the lock it asks the coordinator for
actions, and carries them out outside the lock.

It waits nowhere but in its watch, because it keeps the deadlines of all calls: not for a worker's stderr, not for the
exit status or the pid that a zygote reports. What is not known yet is looked for again in the next turn.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import weakref
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import assert_never

from poolproof.bridge import EventKind, StartFailed
from poolproof.bridge.errors import ProtocolError
from poolproof.bridge.wire.transport import Processes, Start, Transport
from poolproof.pool_v2.calls.handoff import hand_over
from poolproof.pool_v2.core.actions import Act, Action
from poolproof.pool_v2.core.coordinator import Coordinator
from poolproof.pool_v2.core.ticket import Ticket
from poolproof.pool_v2.core.worker_table import Worker
from poolproof.pool_v2.running.abandoned import Abandoned
from poolproof.pool_v2.running.duties import Duties
from poolproof.pool_v2.running.event_log import EventLog
from poolproof.pool_v2.running.platform import MACHINE, Platform

LONGEST_SLEEP_S = 1.0
"""The maximum sleep of an idle pool's supervisor: the interpreter records a lost lease without a wake-up."""
ROUNDING_S = 0.0005
LOOK_S = 0.002
"""How often to look for what a zygote has not reported yet: the pid or the exit status of a worker."""
URGENT = (Act.CUT_OFF, Act.TERM, Act.WAKE, Act.WAKE_READER)
SLOW = (Act.START, Act.RELEASE)
FAULT_PAUSE_S = 0.05
"""The pause after an internal error, so that a repeated error does not use a whole processor and fill the log."""
logger = logging.getLogger(__name__)
_LIVING: weakref.WeakSet[Supervisor] = weakref.WeakSet()


class Supervisor:
    """Carries out the coordinator's actions.

    Invariant: only this thread closes a worker's descriptors, after the coordinator's RELEASE action, which comes only
    when no ticket holds the worker.
    """

    def __init__(
        self,
        coordinator: Coordinator,
        lock: threading.Lock,
        process_manager: Processes,
        duties: Duties,
        *,
        start_timeout_s: float,
        log: EventLog | None,
        platform: Platform = MACHINE,
    ) -> None:
        self._coordinator = coordinator
        self._process_manager = process_manager
        self._duties = duties
        self._start_timeout_s = start_timeout_s
        self._log = log
        self.lock = lock
        self.progress = platform.condition(lock)
        self._clock = platform.clock
        self._abandoned: deque[Ticket] = deque()
        self._unanswered: deque[Abandoned] = deque()
        self.refused: list[Ticket] = []
        """Tickets that `close` refuses. It wakes them itself, unless it is interrupted first."""
        self._starting: dict[Worker, tuple[Start, int]] = {}
        self._gone: list[Worker] = []
        """Workers that have ended and are not reaped."""
        self._unannounced: list[Worker] = []
        """Workers whose start the observer has not been told."""
        self._unreported: list[Worker] = []
        """Workers that have answered their init ping, and whose pid is not known yet."""
        self.watch = platform.watch()
        self.look = self.watch.wake
        """Wake the supervisor to check for due actions. May be called from any thread, outside the lock."""
        self._stopping = False
        self._thread = platform.thread(self._run, f"{process_manager.name}-supervisor")
        _LIVING.add(self)

    def start(self) -> None:
        """Start the thread. If that fails, nothing is left open."""
        try:
            self._thread.start()
        except BaseException:
            self.watch.close()
            raise

    def stop(self) -> None:
        """End the thread; every worker should be reaped by then. Idempotent."""
        self._stopping = True
        self.look()
        self._thread.join()
        self.watch.close()

    def abandon(self, ticket: Ticket) -> None:
        """Take back the worker that this ticket holds, because its client was interrupted or is gone. Never waits."""
        self._abandoned.append(ticket)
        self.look()

    def await_answers(self, call: Abandoned) -> None:
        """Read the responses that are due to this call, in the supervisor's thread. Never waits."""
        self._unanswered.append(call)
        self.look()

    def emit(self, kind: EventKind, worker_id: int, pid: int | None, detail: str = "") -> None:
        """Note a step of a worker, if the pool has an observer."""
        if self._log is not None:
            self._log.note(kind, None, worker_id, pid, detail)

    def wake(self, tickets: list[Ticket]) -> None:
        """Wake the clients of these tickets: each was granted a worker or was refused. Call outside the lock."""
        for ticket in tickets:
            if ticket.worker is not None:
                hand_over(ticket, self._log)
            else:
                ticket.wake()

    # These methods run in the supervisor's thread, unless stated otherwise.

    def _run(self) -> None:
        while not self._stopping:
            try:
                self.watch.wait(self.turn())
            except Exception:
                # Without this thread no deadline is kept, so it continues after any error.
                logger.exception("pool %r: internal error in its supervisor", self._process_manager.name)
                self._clock.sleep(FAULT_PAUSE_S)

    def turn(self) -> float:
        """Carry out all actions that are due. Returns for how many seconds to watch at most before the next turn."""
        while self._abandoned:
            ticket = self._abandoned.popleft()
            self.decide(lambda ticket=ticket: self._coordinator.abandon(ticket))  # type: ignore[misc]
        while self._unanswered:
            call = self._unanswered.popleft()
            worker = call.ticket.worker
            if worker is not None:
                answer = partial(self._on_answer, call, worker.transport)
                self.watch.add(worker.transport.answer_fd, answer)
                answer(read=False)
        for ticket in self.refused:
            ticket.wake()
        self._reap_all()
        self._process_manager.tidy()
        self._check_starts()
        now = self._clock.now_ns()
        with self.lock:
            orders = self._coordinator.plan(now)
            watch_ns = self._coordinator.watch_ns
        failed = self._carry_out_all(_urgent_first(orders))
        self._announce_all()
        times = [watch_ns, self._duties.beat(now), *(deadline for _, deadline in self._starting.values())]
        if failed:
            return FAULT_PAUSE_S
        if any(order.act is not Act.WAKE for order in orders):  # then more may be due; a woken client acts by itself
            return 0.0
        longest_s = LOOK_S if self._gone or self._unannounced or self._unreported else LONGEST_SLEEP_S
        return min(self._clock.remaining_s(min(times)) + ROUNDING_S, longest_s)

    def decide(self, decision: Callable[[], list[Ticket] | None]) -> None:
        """Report an event to the coordinator, and wake the affected clients. May be called from any thread."""
        with self.lock:
            woken = decision()
            self.progress.notify_all()
        self.wake(woken or [])

    def _carry_out_all(self, orders: list[Action]) -> int:
        # Returns how many failed. Most actions come only once, so a failed action must not prevent the later ones.
        failed = 0
        for order in orders:
            try:
                self._carry_out(order)
            except Exception:
                failed += 1
                logger.exception("pool %r: its supervisor could not %s", self._process_manager.name, order.act)
        return failed

    def _carry_out(self, order: Action) -> None:
        worker, ticket = order.worker, order.ticket
        match order.act:
            case Act.START:
                self._start_one()
            case Act.WAKE:
                assert ticket is not None
                ticket.wake()
            case Act.RELEASE:
                assert worker is not None
                self._release(worker)
            case Act.PING:
                assert worker is not None
                self._duties.ping(worker)
            case Act.TERM:
                assert worker is not None
                worker.transport.signal(signal.SIGTERM)
            case Act.WAKE_READER:
                assert worker is not None
                worker.transport.wake_reader()
            case Act.RETIRE | Act.KILL | Act.CUT_OFF:
                if worker is not None and worker.reachable:
                    self.signal(order.act, worker, order.reason)
            case _:
                assert_never(order.act)

    def signal(self, act: Act, worker: Worker, reason: str) -> None:
        """Ask a worker to exit, or kill it."""
        transport: Transport = worker.transport
        reason = "retired" if act is Act.RETIRE else reason
        self.emit(EventKind.KILL, worker.worker_id, transport.pid, reason)
        if act is Act.RETIRE:
            transport.retire()
        elif act is Act.CUT_OFF:
            transport.cut_off()
        else:
            transport.kill()

    def _release(self, worker: Worker) -> None:
        transport: Transport = worker.transport
        self._starting.pop(worker, None)
        self.watch.remove(transport.answer_fd)
        self.watch.remove(transport.exit_fd)
        self._process_manager.release(worker.transport)
        self._announce(worker)
        self.emit(EventKind.REAP, worker.worker_id, transport.pid, transport.describe_exit())
        self._duties.ended(worker, worker.reason)
        self.decide(lambda: self._coordinator.released(worker))

    def _start_one(self) -> None:
        worker_id = self._process_manager.next_id()
        with self.lock:
            if self._coordinator.closing:
                return  # a new worker would never be ended
            worker = self._coordinator.started(worker_id, self._clock.now_ns())
        try:
            transport: Transport = self._process_manager.spawn(worker_id)
        except Exception as error:
            # On any error there is no worker, and its place must become free again.
            message = str(error)
            if not isinstance(error, StartFailed):
                logger.exception("pool %r: a worker could not be started", self._process_manager.name)
            with self.lock:
                woken = self._coordinator.start_failed(worker, message, self._clock.now_ns())
                woken += self._coordinator.exited(worker, self._clock.now_ns())  # there is no process to end
                self._coordinator.released(worker)
                self.progress.notify_all()
            self.wake(woken)
            return
        transport.watched = True
        worker.transport = transport
        worker.reachable = True
        self._unannounced.append(worker)
        handshake = transport.new_start()
        self._starting[worker] = handshake, self._clock.deadline_ns(self._start_timeout_s)
        self.watch.add(transport.exit_fd, partial(self._on_exit, worker))
        try:
            handshake.begin()
        except StartFailed as error:
            self._fail_start(worker, error)
            return
        if handshake.cut:
            self._await_exit(worker)
        else:
            self.watch.add(transport.answer_fd, partial(self._on_handshake, worker))

    def _announce_all(self) -> None:
        # At the end of a turn, and later if a zygote does not know the pid yet.
        while self._unannounced and not self._unannounced[0].transport.forking:
            self._announce(self._unannounced[0])

    def _announce(self, worker: Worker) -> None:
        # Before every other event of the worker. Its pid may become known in the middle of a turn.
        if worker in self._unannounced:
            self._unannounced.remove(worker)
            self.emit(EventKind.SPAWN, worker.worker_id, worker.transport.pid or None)  # 0: it was never forked

    def _check_starts(self) -> None:
        now = self._clock.now_ns()
        for worker, (handshake, deadline) in list(self._starting.items()):
            if now >= deadline:
                what = "ended its stream" if handshake.cut else "did not answer its init ping in time"
                self._fail_start(worker, handshake.failed(what))
        while self._unreported and not self._unreported[0].transport.forking:
            self._on_ready(self._unreported.pop(0))

    def _on_handshake(self, worker: Worker) -> None:
        handshake, _ = self._starting[worker]
        try:
            done = handshake.advance()
        except StartFailed as error:
            self._fail_start(worker, error)
            return
        if done or handshake.cut:
            self.watch.remove(worker.transport.answer_fd)
        if done:
            del self._starting[worker]
            if worker.transport.forking:  # the worker is faster than its zygote's report of its pid
                self._unreported.append(worker)
            else:
                self._on_ready(worker)
        elif handshake.cut:
            self._await_exit(worker)

    def _await_exit(self, worker: Worker) -> None:
        # The worker has closed its stream; if it does not exit soon, `_check_starts` ends it.
        handshake, deadline = self._starting[worker]
        self._starting[worker] = handshake, min(deadline, self._clock.deadline_ns(handshake.exit_grace_s))

    def _on_ready(self, worker: Worker) -> None:
        worker.pid = worker.transport.pid
        self._announce(worker)
        self.emit(EventKind.READY, worker.worker_id, worker.pid)
        self._duties.started(worker)

    def _on_answer(self, call: Abandoned, transport: Transport, *, read: bool = True) -> None:
        try:
            failed = bool(transport.take_in()) if read else False
            if not failed and not call.take(transport, self._log):
                return  # more is to come
        except ProtocolError:
            failed = True
        self.watch.remove(transport.answer_fd)
        call.ended(call, failed)

    def _fail_start(self, worker: Worker, error: StartFailed) -> None:
        self._starting.pop(worker, None)
        self.watch.remove(worker.transport.answer_fd)
        self.decide(lambda: self._coordinator.start_failed(worker, str(error), self._clock.now_ns()))

    def _on_exit(self, worker: Worker) -> None:
        self.watch.remove(worker.transport.exit_fd)
        self._gone.append(worker)  # the next turn, which follows at once, reaps it
        if worker not in self._starting:
            self.decide(lambda: self._coordinator.exited(worker, self._clock.now_ns(), unreaped=True))

    def _reap_all(self) -> None:
        for worker in [worker for worker in self._gone if worker.transport.reap()]:
            self._gone.remove(worker)
            transport: Transport = worker.transport
            if worker in self._starting:
                handshake, _ = self._starting[worker]
                self._fail_start(worker, handshake.failed("died before it answered its init ping"))
            if not worker.exited:
                self.decide(partial(self._coordinator.exited, worker, self._clock.now_ns()))
            cause = ""
            if transport.end().told or not worker.killed:  # a worker that died may have been killed after that
                how = transport.describe_exit()
                told = f"worker {worker.worker_id} (pid {transport.pid}) {how} before it had answered a call"
                cause = "\n".join(filter(None, (told, transport.last_words())))
            self.decide(partial(self._coordinator.reaped, worker, self._clock.now_ns(), cause))


def _urgent_first(orders: list[Action]) -> list[Action]:
    """Return the actions of one turn: first those that clients wait for, then at most one of each of SLOW, then others.

    A start and a release take many system calls, and a deadline may come meanwhile. The next turn, which follows at
    once, derives those again that were left out.
    """
    urgent = [order for order in orders if order.act in URGENT]
    slow = [next(iter(order for order in orders if order.act is act), None) for act in SLOW]
    others = [order for order in orders if order.act not in (*SLOW, *URGENT)]
    return [*urgent, *(order for order in slow if order is not None), *others]


def _after_fork_in_child() -> None:
    for supervisor in list(_LIVING):
        supervisor.watch.close_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)

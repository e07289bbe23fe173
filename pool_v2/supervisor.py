"""V2's supervisor: one thread that starts workers, watches them live, and buries them.

It never touches a call: whatever it waits for, clients and their workers go on.
"""

from __future__ import annotations

import logging
import os
import select
import threading
from collections import deque
from collections.abc import Callable
from typing import assert_never

from bridge import Event, EventKind, Observer, StartFailed
from bridge.channel import Channel, Handshake
from bridge.clock import deadline_ns, now_ns
from bridge.crew import Crew
from pool_v2.coordinator import Attend, Bury, Coordinator, Effect, Effects, Kill, Retire, Wake

RETIRE_GRACE_S = 2.0
"""How long a worker that was asked to leave may take."""
LONGEST_SLEEP_S = 60.0
logger = logging.getLogger(__name__)


class Supervisor:
    """Performs the coordinator's effects.

    `perform` may be called from any thread: it wakes tickets at once and leaves the rest to the supervisor's thread.
    Invariant: a worker's descriptors are closed by this thread alone, after the coordinator said Bury.
    """

    def __init__(
        self,
        coordinator: Coordinator,
        lock: threading.Lock,
        crew: Crew,
        *,
        start_timeout_s: float,
        observer: Observer | None,
    ) -> None:
        self._coordinator = coordinator
        self._crew = crew
        self._start_timeout_s = start_timeout_s
        self._observer = observer
        self.lock = lock
        self.progress = threading.Condition(lock)
        self.channels: dict[int, Channel] = {}
        self._inbox: deque[Effect] = deque()
        self._starting: dict[int, tuple[Handshake, int]] = {}
        self._retiring: dict[int, int] = {}
        self._fds: dict[int, tuple[int, Callable[[int], None]]] = {}
        self._epoll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll.register(self._wake, select.EPOLLIN)
        self._looked_ns = 0
        self._stopping = False
        self._ended = False
        self._ending = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=f"{crew.name}-supervisor", daemon=True)

    def start(self) -> None:
        """Begin, with the first look at what is to be started."""
        self._thread.start()
        self.perform((Attend(),))

    def stop(self) -> None:
        """End the thread; every worker should be buried by then."""
        self._stopping = True
        self._look()
        self._thread.join()
        with self._ending:
            if not self._ended:
                self._ended = True
                self._epoll.close()
                os.close(self._wake)

    def perform(self, effects: Effects) -> None:
        """Do what the coordinator decided. Outside the lock."""
        posted = False
        for effect in effects:
            if isinstance(effect, Wake):
                ticket = effect.ticket
                worker_id = ticket.worker_id
                if worker_id is not None:
                    self.emit(EventKind.OFFER, call=ticket.call, worker=worker_id)
                ticket.wake()
            else:
                self._inbox.append(effect)
                posted = True
        if posted:
            self._look()

    def _look(self) -> None:
        # A client that leaves after the end must not write to a descriptor that was given to another by then.
        with self._ending:
            if not self._ended:
                os.eventfd_write(self._wake, 1)

    def emit(
        self,
        kind: EventKind,
        *,
        call: int | None = None,
        worker: int | None = None,
        pid: int | None = None,
        detail: str = "",
    ) -> None:
        """Tell the observer, if there is one; what it raises is logged and dropped."""
        if self._observer is not None:
            try:
                self._observer(Event(kind, now_ns(), call, worker, pid, detail))
            except Exception:
                logger.exception("pool %r: its observer failed at %s", self._crew.name, kind)

    # The supervisor's thread.

    def _run(self) -> None:
        while not self._stopping:
            for fd, _ in self._epoll.poll(self._sleep_s()):
                if fd == self._wake:
                    os.eventfd_read(self._wake)
                elif fd in self._fds:
                    worker_id, react = self._fds[fd]
                    react(worker_id)
            while self._inbox:
                self._carry_out(self._inbox.popleft())
            self._check_times()
            self._start_wanted()

    def _sleep_s(self) -> float:
        times = [deadline for _, deadline in self._starting.values()] + list(self._retiring.values())
        retry_at_ns = self._coordinator.circuit.retry_at_ns
        now = now_ns()
        if retry_at_ns > self._looked_ns:  # not `> now`: it may have passed since the last look
            times.append(retry_at_ns)
        if not times:
            return LONGEST_SLEEP_S
        return min(max((min(times) - now) / 1e9, 0.0) + 0.0005, LONGEST_SLEEP_S)

    def _decide(self, decision: Callable[[], Effects]) -> None:
        with self.lock:
            effects = decision()
            self.progress.notify_all()
        self.perform(effects)

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Attend() | Wake():
                pass
            case Retire(worker_id):
                if worker_id in self.channels:  # it may have died, and been buried, since this was decided
                    self._retire(worker_id)
            case Kill(worker_id, reason):
                if worker_id in self.channels:
                    self._kill(worker_id, reason)
            case Bury(worker_id):
                self._bury(worker_id)
            case _:
                assert_never(effect)

    def _retire(self, worker_id: int) -> None:
        process = self.channels[worker_id].process
        self.emit(EventKind.KILL, worker=worker_id, pid=process.pid, detail="retired")
        process.end_input()
        self._retiring[worker_id] = deadline_ns(RETIRE_GRACE_S)

    def _kill(self, worker_id: int, reason: str) -> None:
        process = self.channels[worker_id].process
        self.emit(EventKind.KILL, worker=worker_id, pid=process.pid, detail=reason)
        process.kill()

    def _bury(self, worker_id: int) -> None:
        channel = self.channels.pop(worker_id)
        self._starting.pop(worker_id, None)
        self._retiring.pop(worker_id, None)
        self._crew.bury(channel)
        process = channel.process
        self.emit(EventKind.REAP, worker=worker_id, pid=process.pid, detail=process.describe_exit())
        self._decide(lambda: self._coordinator.buried(worker_id))

    def _check_times(self) -> None:
        now = now_ns()
        for worker_id, (handshake, deadline) in list(self._starting.items()):
            if now >= deadline:
                self._fail_start(worker_id, handshake.failed("did not answer its init ping in time"))
        for worker_id, deadline in list(self._retiring.items()):
            if now >= deadline:
                del self._retiring[worker_id]
                self._kill(worker_id, "did not leave in time")

    def _start_wanted(self) -> None:
        self._looked_ns = now_ns()
        with self.lock:
            wanted = self._coordinator.wanted_starts(self._looked_ns)
        for _ in range(wanted):
            self._start_one()

    def _start_one(self) -> None:
        worker_id = self._crew.next_id()
        with self.lock:
            if self._coordinator.closing:
                return  # nobody would end it
            self._coordinator.started(worker_id)
        try:
            channel = self._crew.spawn(worker_id)
        except StartFailed as error:
            message = str(error)
            with self.lock:
                # There is no process: what the coordinator wants done with it is done.
                effects = [*self._coordinator.start_failed(worker_id, message, now_ns())]
                effects += self._coordinator.exited(worker_id)
                effects += self._coordinator.buried(worker_id)
                self.progress.notify_all()
            self.perform(effect for effect in effects if isinstance(effect, Wake))
            return
        process = channel.process
        self.channels[worker_id] = channel
        self.emit(EventKind.SPAWN, worker=worker_id, pid=process.pid)
        handshake = channel.new_handshake()
        self._starting[worker_id] = handshake, deadline_ns(self._start_timeout_s)
        self._watch(process.pidfd, worker_id, self._on_exit)
        try:
            handshake.begin()
        except StartFailed as error:
            self._fail_start(worker_id, error)
            return
        self._watch(process.stdout_fd, worker_id, self._on_handshake)

    def _watch(self, fd: int, worker_id: int, react: Callable[[int], None]) -> None:
        self._fds[fd] = worker_id, react
        self._epoll.register(fd, select.EPOLLIN)

    def _unwatch(self, fd: int) -> None:
        if self._fds.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def _on_handshake(self, worker_id: int) -> None:
        handshake, _ = self._starting[worker_id]
        try:
            done = handshake.advance()
        except StartFailed as error:
            self._fail_start(worker_id, error)
            return
        if done:
            process = self.channels[worker_id].process
            self._unwatch(process.stdout_fd)
            del self._starting[worker_id]
            self.emit(EventKind.READY, worker=worker_id, pid=process.pid)
            self._decide(lambda: self._coordinator.ready(worker_id))

    def _fail_start(self, worker_id: int, error: StartFailed) -> None:
        self._starting.pop(worker_id, None)
        self._unwatch(self.channels[worker_id].process.stdout_fd)
        self._decide(lambda: self._coordinator.start_failed(worker_id, str(error), now_ns()))

    def _on_exit(self, worker_id: int) -> None:
        process = self.channels[worker_id].process
        if worker_id in self._starting:
            handshake, _ = self._starting[worker_id]
            self._fail_start(worker_id, handshake.failed("died before it answered its init ping"))
        self._unwatch(process.pidfd)
        process.reap()
        self._decide(lambda: self._coordinator.exited(worker_id))

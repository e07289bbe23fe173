"""V1's manager: one thread that owns every worker and every session, and does all the I/O itself, blocking.

This is the legacy architecture, kept on purpose: while one call waits, every other call and the status wait too. The
manager does not know its callers or their timeouts.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from poolproof.bridge import (
    CommandError,
    Event,
    EventKind,
    Observer,
    PoolClosed,
    PoolConfig,
    SessionStatus,
    StartFailed,
    WorkerCrashed,
    WorkerStatus,
)
from poolproof.bridge.clock import deadline_ns, now_ns
from poolproof.bridge.errors import PoolError
from poolproof.bridge.processes.channel import Channel
from poolproof.bridge.processes.process_manager import ProcessManager
from poolproof.pool_v1.mailbox import Mailbox, Message

OPERATION_TIMEOUT_S = 30.0
"""How long the manager waits for a response before it kills the worker, in seconds."""
KILL_WAIT_S = 5.0
"""How long the reaping of a killed worker may take, in seconds."""
ADOPTED_WAIT_S = 0.2
"""How long the end of a killed worker's children may take, if this program adopts them, in seconds."""
logger = logging.getLogger(__name__)


class ManagedWorker:
    """The manager's data about one worker."""

    __slots__ = ("channel", "served", "worker_id")

    def __init__(self, worker_id: int, channel: Channel) -> None:
        self.worker_id = worker_id
        self.channel = channel
        self.served = 0


class Session:
    """The manager's data about one session: its worker, and the number of its completed calls."""

    __slots__ = ("operations", "worker_id")

    def __init__(self) -> None:
        self.worker_id: int | None = None
        self.operations = 0


class Manager:
    """The manager thread and its mailbox. Workers start lazily, one after another, in that thread.

    Invariant: only the manager's thread uses `_workers`, `_sessions` and the channels. The one exception is `kill_all`,
    which signals processes so that a blocked read ends.
    """

    def __init__(self, config: PoolConfig, observer: Observer | None) -> None:
        self._config = config
        self._observer = observer
        self.process_manager = ProcessManager(config, version="v1")
        self.mailbox = Mailbox(self.process_manager.name)
        self._workers: deque[ManagedWorker] = deque()
        self._sessions: dict[str, Session] = {}
        self.busy = False
        self.start_failure = ""
        """The reason why the last start of a worker failed; empty if it succeeded."""
        self.dropped = False
        """Whether the manager's thread itself shuts the pool down, since no other thread could be started for that."""
        self._ending = threading.Lock()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name=f"{self.process_manager.name}-manager", daemon=True)
        try:
            self._thread.start()
        except BaseException:
            self.process_manager.shut_down()
            raise

    def emit(self, kind: EventKind, **fields: Any) -> None:  # noqa: ANN401 - Event's own fields
        """Send an event to the observer, if there is one. Exceptions of the observer are logged and dropped."""
        if self._observer is not None:
            try:
                self._observer(Event(kind, now_ns(), **fields))
            except Exception:
                logger.exception("pool %r: its observer failed at %s", self.process_manager.name, kind)

    # These methods run in the manager's thread.

    def _run(self) -> None:
        while (message := self.mailbox.take()) is not None:
            self.busy = True
            try:
                message.finish(message.work())
            except BaseException as error:
                message.finish(error=error)
            self.busy = False
            del message
        for worker in list(self._workers):
            self._end(worker, "close")
        if self.dropped:
            self._finish()

    def call(self, call: int, frame: bytearray, session_id: str | None) -> Any:  # noqa: ANN401 - any JSON value
        """Run one call: pick a worker, write, block until it has responded. Runs in the manager's thread."""
        session = None if session_id is None else self._sessions.setdefault(session_id, Session())
        try:
            worker = self._pick(session)
        except StartFailed as error:
            raise WorkerCrashed(
                error.message, worker_id=error.worker_id, stderr_tail=error.stderr_tail, ended=error.ended
            ) from error
        if session is not None:
            session.worker_id = worker.worker_id
        pid = worker.channel.process.pid
        mark = {"call": call, "worker": worker.worker_id, "pid": pid}
        self.emit(EventKind.ACCEPT, **mark)
        try:
            response = worker.channel.exchange(
                call,
                frame,
                deadline_ns=deadline_ns(OPERATION_TIMEOUT_S),
                on_sent=lambda: self.emit(EventKind.SEND, **mark),
            )
        except BaseException as error:  # any exception means that the exchange is incomplete
            self._end(worker, type(error).__name__)
            if self.mailbox.closed and isinstance(error, WorkerCrashed):
                raise PoolClosed(
                    f"pool {self.process_manager.name!r} was closed during the call", sent=error.sent
                ) from error
            raise
        self.emit(EventKind.RECEIVE, **mark)
        worker.served += 1
        if session is not None:
            session.operations += 1
        self.emit(EventKind.CHECKIN, **mark)
        if not response.success:
            raise CommandError(str(response.error), worker_id=worker.worker_id)
        return response.result

    def _pick(self, session: Session | None) -> ManagedWorker:
        for worker in list(self._workers):
            if worker.channel.process.exited():
                self._end(worker, "found dead")
        for worker in self._workers:
            if session is not None and worker.worker_id == session.worker_id:
                return worker
        if not self._workers:
            self._start()
        self._workers.rotate(-1)
        return self._workers[-1]

    def _start(self) -> None:
        worker_id = self.process_manager.next_id()
        channel = self.process_manager.spawn(worker_id)
        worker = ManagedWorker(worker_id, channel)
        self._workers.append(worker)
        self.emit(EventKind.SPAWN, worker=worker_id, pid=channel.process.pid)
        try:
            channel.handshake(deadline_ns=deadline_ns(self._config.start_timeout_s))
        except PoolError as error:
            self._end(worker, type(error).__name__)
            self.start_failure = str(error)
            raise
        self.start_failure = ""
        self.emit(EventKind.READY, worker=worker_id, pid=channel.process.pid)

    def _end(self, worker: ManagedWorker, reason: str) -> None:
        process = worker.channel.process
        self._workers.remove(worker)
        self.emit(EventKind.KILL, worker=worker.worker_id, pid=process.pid, detail=reason)
        process.kill()
        process.exited(KILL_WAIT_S)
        process.reap()
        self.process_manager.release(worker.channel)
        self.process_manager.tidy(ADOPTED_WAIT_S)
        self.emit(EventKind.REAP, worker=worker.worker_id, pid=process.pid, detail=process.describe_exit())

    def warm_up(self, n: int) -> int:
        """Start workers, one after another, until there are `n`. Runs in the manager's thread."""
        while len(self._workers) < n:
            self._start()
        return len(self._workers)

    def worker_statuses(self) -> tuple[WorkerStatus, ...]:
        """Return the workers. Runs in the manager's thread, so no other call is using them."""
        return tuple(
            WorkerStatus(worker_id=w.worker_id, pid=w.channel.process.pid, state="idle", served=w.served)
            for w in self._workers
        )

    def vitals(self) -> tuple[int, list[str]]:
        """Return the number of living workers, and why the pool cannot serve (if so). Runs in the manager's thread."""
        dead = [f"worker {w.worker_id} is dead" for w in self._workers if w.channel.process.exited()]
        live = len(self._workers) - len(dead)
        if self.start_failure:
            dead.append(f"workers fail to start; the last error: {self.start_failure}")
        elif not self._workers:
            dead.append("no worker is alive; the next call starts one")
        return live, dead

    def session_statuses(self) -> tuple[SessionStatus, ...]:
        """Return the sessions. Runs in the manager's thread."""
        return tuple(
            SessionStatus(session_id=key, operations=s.operations, version=s.operations, worker_id=s.worker_id)
            for key, s in self._sessions.items()
        )

    def forget_session(self, session_id: str) -> bool:
        """Drop the session from the manager's state. Runs in the manager's thread."""
        return self._sessions.pop(session_id, None) is not None

    # These methods run in any thread.

    def ask(self, work: Callable[[], Any]) -> Message:
        """Post `work` to the mailbox. Returns its message. Raises PoolClosed."""
        self.process_manager.require_owner()
        message = Message(work)
        self.mailbox.post(message)
        return message

    def stop(self, grace_s: float) -> None:
        """Fail waiting messages, give the running call `grace_s` seconds, then end every worker. Idempotent.

        A second caller also waits for the end, and completes it if the first caller was interrupted.
        """
        self.mailbox.close()
        self._thread.join(grace_s)
        give_up = deadline_ns(KILL_WAIT_S)
        while self._thread.is_alive() and now_ns() < give_up:
            for worker in list(self._workers):
                worker.channel.process.kill()  # the blocked read then sees the end of the stream
            self._thread.join(0.05)
        self._finish()

    def _finish(self) -> None:
        with self._ending:
            if not self._ended:
                self.process_manager.shut_down()
                self._ended = True
                self.emit(EventKind.CLOSE)


def stop_in_background(manager: Manager) -> None:
    """Stop at once in a new thread, because a finalizer may run in any thread, including the manager's.

    If no thread can be started, the thread of the manager stops when it is idle. In a forked child the copy is only
    dropped, because the workers belong to the parent.
    """
    try:
        manager.process_manager.require_owner()
    except PoolClosed:
        return
    try:
        threading.Thread(target=manager.stop, args=(0.0,), name="pool-v1-finalizer", daemon=True).start()
    except RuntimeError:  # the process has no thread left, or the interpreter ends
        manager.dropped = True
        manager.mailbox.close_soon()

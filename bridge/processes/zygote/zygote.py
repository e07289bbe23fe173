"""The pool's view of the zygote: a separate thread keeps it alive, forwards fork requests, and ends it with the pool.

Makes no decisions about workers. No caller waits here for a fork: a fork request is queued, and its ForkedWorker gets
the result. So a zygote that is slow, stopped or still importing delays only the workers that it has yet to fork.

Rules
1. The zygote is started with the pool. If it dies after it has forked a worker, it is restarted at once; otherwise with
   the next fork request. So a module that cannot be imported is tried again once per start, not in a loop.
2. The zygote's death fails the starts that it had been sent. Requests that were not sent go to the next zygote. If it
   dies before it is ready, all waiting requests fail.
3. Its workers live on, but their exit statuses are unknown from then on.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import select
import socket
import threading
import weakref
from collections import deque
from collections.abc import Callable, Collection, Mapping
from queue import SimpleQueue

from poolproof.bridge.clock import deadline_ns, now_ns
from poolproof.bridge.config import module_command
from poolproof.bridge.errors import StartFailed
from poolproof.bridge.processes.interpreter import with_flags
from poolproof.bridge.processes.output.stderr import StderrTail
from poolproof.bridge.processes.process import NO_FORK, WorkerProcess
from poolproof.bridge.processes.zygote.descriptors import SOCKET_FD, Message, close_all, encode, receive, send
from poolproof.bridge.processes.zygote.forked import Answer, ForkedWorker
from poolproof.bridge.safe_text import one_line

COMMAND = module_command("poolproof.bridge.processes.zygote.program")
REAP_PATIENCE_S = 0.25
"""How long to wait for a worker's exit status, in seconds; afterwards it is unknown."""
END_PATIENCE_S = 2.0
TAIL_WAIT_S = 0.1
logger = logging.getLogger(__name__)
_LIVING: weakref.WeakSet[Zygote] = weakref.WeakSet()


class Zygote:
    """Forks the workers of one pool, with `preload` imported and `env` as their environment, to run on `cpus`.

    `watch_stderr` takes over a descriptor and returns what is read from it; `on_fork` gets the id and pid of a worker.
    Invariant: `_orders` has the fork requests that no zygote was sent, `_sent` those that the present zygote has not
    answered.
    """

    def __init__(
        self,
        name: str,
        env: Mapping[str, str],
        preload: tuple[str, ...],
        *,
        cpus: Collection[int] = (),
        share_stdout: bool = False,
        watch_stderr: Callable[[int], StderrTail],
        on_fork: Callable[[int, int], None],
    ) -> None:
        self._name = name
        self._env = dict(env)
        self._preload = tuple(preload)
        self._cpus = cpus
        self._share_stdout = share_stdout
        self._watch_stderr = watch_stderr
        self._on_fork = on_fork
        self._lock = threading.Lock()
        self._orders: deque[tuple[ForkedWorker, bytes]] = deque()
        self._sent: dict[int, ForkedWorker] = {}
        self._forked: dict[int, ForkedWorker] = {}
        self._collecting: dict[int, tuple[Answer, int]] = {}
        self._connection: socket.socket | None = None
        self._process: WorkerProcess | None = None
        self._running = False
        self._ready = False
        self._served = False
        self._closing = False
        self._wanted = threading.Event()
        self._wanted.set()
        self._thread = threading.Thread(target=self._keep, name=f"{name}-zygote", daemon=True)
        _LIVING.add(self)
        self._thread.start()

    @property
    def pid(self) -> int:
        """The zygote's own pid; 0 while there is none."""
        process = self._process
        return 0 if process is None else process.pid

    @property
    def ready(self) -> bool:
        """Whether the zygote has imported its modules, and forks at once."""
        return self._ready

    def spawn(self, worker_id: int, env: Mapping[str, str] | None = None) -> ForkedWorker:
        """Request a worker, with `env` as its whole environment (default: the pool's). Never waits for the fork.

        Raises StartFailed if the request cannot be queued. If the fork fails later, the worker counts as ended.
        """
        try:
            order = encode("fork", worker_id, {} if env is None else _changes(self._env, env))
            worker = ForkedWorker.prepare(worker_id)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            message = f"worker {worker_id}: cannot request its start from the zygote: {reason}"
            raise StartFailed(message, worker_id=worker_id) from error
        with self._lock:
            closing = self._closing
            if not closing:
                self._orders.append((worker, order))
                if self._ready:
                    self._send_orders()
                elif not self._running:
                    self._wanted.set()
        if closing:
            worker.fail("the pool is closed")
        return worker

    def close(self) -> None:
        """End the zygote and all workers that it has not reaped, and wait for it. Idempotent."""
        with self._lock:
            self._closing = True
            self._wanted.set()
            if self._connection is not None:
                self._connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def abandon(self) -> None:
        """Start no zygote again, because this program ends."""
        self._closing = True

    # These methods need the lock.

    def _send_orders(self) -> None:
        assert self._connection is not None
        while self._orders:
            worker, order = self._orders[0]
            try:
                if worker.order(self._connection, order):
                    self._sent[worker.worker_id] = worker
            except OSError:
                # The zygote is busy or gone. If a reply or its end is still to come, wait for that; otherwise fail the
                # worker.
                if not self._sent and not self._forked:
                    worker.fail("no request can be sent to the zygote")
                    self._orders.popleft()
                    continue
                return
            self._orders.popleft()

    # Called for a ForkedWorker, in its caller's thread.

    def _collect(self, worker_id: int) -> tuple[Answer, float]:
        answer: Answer = SimpleQueue()
        with self._lock:
            if self._connection is None or self._forked.pop(worker_id, None) is None:
                return answer, 0.0
            late = any(now_ns() > due for _, due in self._collecting.values())  # the zygote is slow or stopped
            self._collecting[worker_id] = answer, deadline_ns(REAP_PATIENCE_S)
            self._tell("reap", worker_id)
        return answer, 0.0 if late else REAP_PATIENCE_S

    def _tell(self, *message: object) -> None:
        assert self._connection is not None
        with contextlib.suppress(OSError):  # the zygote is gone, or has been stopped for very long
            send(self._connection, encode(*message), flags=socket.MSG_DONTWAIT)

    # These methods run in the keeper's thread.

    def _keep(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            if self._closing:
                self._lose("the pool is closed", all_of_them=True)
                return
            try:
                connection, process, tail = self._begin()
            except StartFailed as error:
                self._lose(str(error), all_of_them=True)
                continue
            failure = ""
            try:
                failure = self._listen(connection)
            except Exception:
                logger.exception("pool %r: internal error in the thread that manages the zygote", self._name)
            self._release(connection, process, tail, failure)

    def _begin(self) -> tuple[socket.socket, WorkerProcess, StderrTail]:
        with self._lock:
            self._running = True
        with NO_FORK:
            try:
                ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                with theirs:
                    try:
                        high = fcntl.fcntl(theirs, fcntl.F_DUPFD_CLOEXEC, SOCKET_FD + 2)
                    except OSError:
                        ours.close()
                        raise
            except OSError as error:
                raise StartFailed(f"the zygote cannot be started: {error.strerror}") from error
            try:
                words = (*with_flags(COMMAND), *self._preload)
                process = WorkerProcess.spawn(
                    0, words, self._env, also={SOCKET_FD: high}, cpus=self._cpus, share_stdout=self._share_stdout
                )
            except StartFailed:
                ours.close()
                raise
            finally:
                os.close(high)
            process.end_input()
            with self._lock:
                self._process, self._connection = process, ours
                if self._closing:
                    ours.shutdown(socket.SHUT_RDWR)
        return ours, process, self._watch_stderr(process.stderr_fd)

    def _listen(self, connection: socket.socket) -> str:
        # Runs until the zygote is gone. Returns why it could not get ready, if it has reported that.
        poll = select.poll()
        poll.register(connection, select.POLLIN)
        failure = ""
        while True:
            poll.poll()
            with NO_FORK:  # until its descriptors have an owner
                try:
                    received = receive(connection, flags=socket.MSG_DONTWAIT)
                except BlockingIOError:
                    continue
                if received is None:
                    return failure
                message, fds = received
                match message:
                    case ("failed", str(module), str(error)):
                        failure = f"preload of {module!r} failed: {error}"
                    case _:
                        self._hear(message, fds)

    def _hear(self, message: Message, fds: list[int]) -> None:
        match message:
            case ("ready",):
                self._ready = True
            case ("forked", int(worker_id), int(pid)):
                self._take(worker_id, pid, fds)
            case ("refused", int(worker_id), str(why)):
                self._answered(worker_id).fail(f"the zygote cannot fork: {why}")
            case ("reaped", int(worker_id), int(status)):
                with self._lock:
                    answer, _ = self._collecting.pop(worker_id)
                answer.put(status)
        close_all(fds)
        with self._lock:
            self._send_orders()

    def _answered(self, worker_id: int) -> ForkedWorker:
        with self._lock:
            return self._sent.pop(worker_id)

    def _take(self, worker_id: int, pid: int, fds: list[int]) -> None:
        self._served = True
        worker = self._answered(worker_id)
        with self._lock:
            self._forked[worker_id] = worker
        if fds and worker.begun(pid, fds[0], self._collect):
            fds.clear()
            self._on_fork(worker_id, pid)
            return
        worker.fail(
            "this process has no file descriptor left for the worker"
        )  # no effect if the worker is no longer wanted
        with self._lock:
            del self._forked[worker_id]
            self._tell("discard", worker_id)

    def _release(self, connection: socket.socket, process: WorkerProcess, tail: StderrTail, failure: str) -> None:
        if self._closing and not self._ready:
            process.kill()  # it is still importing and has no workers to end
        if not process.exited(END_PATIENCE_S):
            process.kill()
            process.exited(END_PATIENCE_S)
        process.reap()
        was_ready = self._ready
        with NO_FORK, self._lock:
            self._ready = False
            self._connection = self._process = None
            connection.close()
        process.close()
        when = "" if was_ready else " before it was ready"
        reason = failure or f"the zygote (pid {process.pid}) {process.describe_exit()}{when}"
        if not self._closing:
            logger.warning("pool %r: %s", self._name, one_line(reason))
            if not failure:
                reason = "\n".join(filter(None, (reason, tail.text(wait_s=TAIL_WAIT_S))))
        self._lose(reason, all_of_them=self._closing or not was_ready)

    def _lose(self, reason: str, *, all_of_them: bool) -> None:
        with self._lock:
            self._running = False
            lost = list(self._sent.values())
            if all_of_them:
                lost += [worker for worker, _ in self._orders]
                self._orders.clear()
            orphans = list(self._forked.values())
            answers = [answer for answer, _ in self._collecting.values()]
            self._sent.clear()
            self._forked.clear()
            self._collecting.clear()
            if self._orders or self._served:
                self._wanted.set()
            self._served = False
        for worker in orphans:
            worker.orphaned()
        for answer in answers:
            answer.put(None)
        for worker in lost:
            worker.fail(reason)

    def _close_in_child(self) -> None:
        self._closing = True
        if self._connection is not None:
            self._connection.close()


def _changes(base: Mapping[str, str], wanted: Mapping[str, str]) -> dict[str, str | None]:
    """Return the changes that turn `base` into `wanted`; None for a variable to remove."""
    changes: dict[str, str | None] = dict.fromkeys(base.keys() - wanted.keys())
    return changes | {name: value for name, value in wanted.items() if base.get(name) != value}


def abandon_all() -> None:
    """Start no zygote of this program again."""
    for zygote in list(_LIVING):
        zygote.abandon()


def _after_fork_in_child() -> None:
    for zygote in list(_LIVING):
        zygote._close_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)

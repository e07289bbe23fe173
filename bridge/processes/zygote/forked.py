"""The pool's view of a worker that a zygote forks: from the fork request until the worker is reaped.

Makes no decisions, and does not know the zygote's other work: the zygote's keeper reports the fork or its failure.

Rules
1. The worker is a child of the zygote, so only the zygote can reap it, and does so on request. Until then the pid
   belongs to the worker, dead or alive. After the zygote has died, this holds only while the worker lives.
2. `pidfd` is an epoll descriptor from the beginning, which reports the events of the real pidfd once that exists. So a
   watcher of `pidfd` need not know when the fork happened.
3. Closing the lifeline kills: the kernel sends SIGKILL to the group that is tied to it, whatever was reaped. The parent
   also keeps a read end, so that this holds even for children of a dead worker that closed theirs.
4. A worker that was killed before its fork counts as ended. If it is forked anyway, it finds its lifeline closed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import socket
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

from poolproof.bridge.clock import deadline_ns, now_ns, remaining_s
from poolproof.bridge.processes.launch import open_pipe
from poolproof.bridge.processes.process import NO_FORK, WorkerProcess
from poolproof.bridge.processes.zygote.descriptors import close_all, send

PID_PATIENCE_S = 1.0
"""How long the pid of a worker that was requested from a warm zygote counts as about to be known, in seconds."""
Answer = SimpleQueue[int | None]
Collect = Callable[[int], tuple[Answer, float]]
"""Asks for a worker's exit status. Returns the queue that will get it, and how long that may take, in seconds."""


class ForkedWorker(WorkerProcess):
    """A worker process that was requested from a zygote. Until it is forked, its pid is 0.

    Lock order: a zygote may take the lock of a worker that is not forked yet, and a forked worker may call its zygote
    under its own lock. So the two orders never occur at the same time.
    """

    __slots__ = (
        "_answer",
        "_child_ends",
        "_collector",
        "_forked_pid",
        "_kept_read",
        "_leader_fd",
        "_ordered",
        "_patience_ns",
        "_stderr_end",
        "_told",
        "_wakes",
    )

    @classmethod
    def prepare(cls, worker_id: int) -> ForkedWorker:
        """Open the pipes of a worker. Raises OSError."""
        with NO_FORK:
            opened: list[int] = []
            try:
                stdin_read, stdin_write = open_pipe(opened, child_end=0)
                stdout_read, stdout_write = open_pipe(opened, child_end=1)
                stderr_read, stderr_write = open_pipe(opened, child_end=1)
                lifeline_read, lifeline_write = open_pipe(opened, child_end=0)
                # A dying process closes descriptors by number: the write end must go first, while the kernel knows whom
                # to signal.
                opened.append(fcntl.fcntl(lifeline_read, fcntl.F_DUPFD_CLOEXEC, lifeline_write + 1))
                os.set_blocking(stdin_write, False)
                return cls(
                    worker_id,
                    (stdin_write, stdout_read, stderr_read, lifeline_write),
                    child_ends=[stdin_read, stdout_write, lifeline_read],
                    stderr_end=stderr_write,
                    kept_read=opened[-1],
                    wakes=select.epoll(),
                )
            except BaseException:
                close_all(opened)
                raise

    def __init__(
        self,
        worker_id: int,
        own_ends: tuple[int, int, int, int],
        *,
        child_ends: list[int],
        stderr_end: int,
        kept_read: int,
        wakes: select.epoll,
    ) -> None:
        self._forked_pid = 0
        self._ordered = False
        self._answer: Answer | None = None
        self._patience_ns = 0
        self._told = threading.Event()
        self._child_ends = child_ends
        self._stderr_end = stderr_end  # kept until the fork, to write why there is none
        self._kept_read = kept_read
        self._leader_fd = -1
        self._wakes = wakes
        self._collector: Collect | None = None
        stdin_fd, stdout_fd, stderr_fd, lifeline_fd = own_ends
        super().__init__(
            worker_id,
            0,
            stdin_fd=stdin_fd,
            stdout_fd=stdout_fd,
            stderr_fd=stderr_fd,
            lifeline_fd=lifeline_fd,
            pidfd=wakes.fileno(),
        )

    @property
    def pid(self) -> int:
        """The worker's pid, or 0 as long as it is not known."""
        return self._forked_pid

    @pid.setter
    def pid(self, pid: int) -> None:
        self._forked_pid = pid

    # Called for the zygote, in this process.

    def order(self, connection: socket.socket, data: bytes) -> bool:
        """Send the fork request with the child's ends. Returns False if the worker is unwanted. Raises OSError."""
        with self._lock:
            if self._told.is_set() or self._closed:
                return False
            stdin_read, stdout_write, lifeline_read = self._child_ends
            ends = (stdin_read, stdout_write, self._stderr_end, lifeline_read)
            self._patience_ns = deadline_ns(PID_PATIENCE_S)
            self._ordered = True  # set before sending: the worker may respond before this thread continues
            try:
                send(connection, data, ends, flags=socket.MSG_DONTWAIT)
            except OSError:
                self._ordered = False
                raise
            close_all(self._child_ends)
            self._child_ends = []
            return True

    def begun(self, pid: int, leader_fd: int, collect: Collect) -> bool:
        """Record the fork and take over `leader_fd`, its pidfd. Returns False if the worker is no longer wanted."""
        with self._lock:
            if self._told.is_set() or self._closed:
                return False
            self._forked_pid = pid
            self._leader_fd = leader_fd
            self._collector = collect
            self._wakes.register(leader_fd, select.EPOLLIN)
            self._settle()
            return True

    def fail(self, reason: str) -> None:
        """Record that the worker will not be forked; `reason` is written to its stderr."""
        with self._lock:
            self._give_up(reason)

    def _give_up(self, reason: str) -> None:
        if not self._told.is_set() and not self._closed:
            with contextlib.suppress(OSError):
                os.write(self._stderr_end, f"{reason}\n".encode())
            self._cut_lifeline()
            with contextlib.suppress(FileExistsError):  # an earlier attempt was interrupted
                self._wakes.register(self._kept_read, 0)  # its write end is closed, so it reports POLLHUP for ever
            self._settle()

    def _settle(self) -> None:
        self._close_child_ends()
        self._told.set()

    # A client's thread may run this to kill a worker, and be interrupted after any call. So a descriptor is forgotten
    # before it is closed: closed a second time, its number might belong to another file.

    def _close_child_ends(self) -> None:
        ends, self._child_ends = [*self._child_ends, self._stderr_end], []
        self._stderr_end = -1
        for fd in ends:
            if fd >= 0:
                os.close(fd)

    def _cut_lifeline(self) -> None:
        fd, self._lifeline_fd = self._lifeline_fd, -1
        if fd >= 0:
            os.close(fd)

    # The differences from a worker that is this process's own child.

    @property
    def forking(self) -> bool:
        """Whether the zygote was asked for this worker at most `PID_PATIENCE_S` ago and has not reported its pid."""
        return self._ordered and not self._told.is_set() and now_ns() < self._patience_ns

    def _kill_group(self) -> None:
        self._give_up("the worker was ended before its zygote had forked it")
        self._cut_lifeline()
        if self._forked_pid and (self._collector is not None or not self.exited()):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._forked_pid, signal.SIGKILL)

    def _signal_leader(self, signum: int) -> None:
        if self._leader_fd >= 0:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(self._leader_fd, signum)

    def orphaned(self) -> None:
        """Record that the zygote has died: from now on the pid is the worker's only as long as it lives."""
        self._collector = None

    def _collect(self, wait_s: float) -> bool:
        # Asks the zygote once, and looks for its answer then and at each later call.
        if self._answer is None:
            collector, self._collector = self._collector, None
            self._answer, patience_s = (SimpleQueue(), 0.0) if collector is None else collector(self.worker_id)
            self._patience_ns = deadline_ns(patience_s)
            if collector is None and self._forked_pid:
                # If this program adopts orphans (as the first process of a container or a subreaper), it is now the
                # parent.
                with contextlib.suppress(ChildProcessError):
                    pid, status = os.waitpid(self._forked_pid, os.WNOHANG)
                    self.exit_status = os.waitstatus_to_exitcode(status) if pid else None
        wait_s = min(wait_s, remaining_s(self._patience_ns))
        try:
            self.exit_status = self._answer.get(timeout=wait_s) if wait_s > 0 else self._answer.get_nowait()
        except Empty:
            return now_ns() >= self._patience_ns
        return True

    def _release(self) -> None:
        self._wakes.close()
        self.pidfd = -1
        super()._release()
        self._lifeline_fd = -1
        self._close_child_ends()
        for fd in (self._leader_fd, self._kept_read):
            if fd >= 0:
                os.close(fd)
        self._leader_fd = self._kept_read = -1
        self._ordered = False

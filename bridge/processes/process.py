"""One worker process: spawned in its own process group, signalled as a group, reaped exactly once.

Independent of requests, queues and leases. Linux only: needs pidfd, and a pipe whose closing kills (the lifeline).

A worker ends with its parent (`launch`). A process that leaves the group (setsid) or closes the lifeline escapes that.
So the pool, as long as it lives, also looks for the processes below a worker before it ends the worker, and ends those
that have left the group.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import threading
from collections.abc import Collection, Mapping, Sequence

from poolproof.bridge.errors import UNKNOWN_END, End, StartFailed
from poolproof.bridge.machine.adopted import is_child_left, reap_adopted
from poolproof.bridge.machine.cgroups import oom_kills
from poolproof.bridge.machine.procfs import kill_groups
from poolproof.bridge.machine.tree import descendants
from poolproof.bridge.processes.launch import FIRST_FREE_FD, LIFELINE_FD, STDOUT_FD, end_child, launch, open_pipe

LONGEST_REAP_S = 1.0
_LIVING: set[WorkerProcess] = set()
NO_FORK = threading.RLock()
"""Held while descriptors are open that `_LIVING` does not list yet. A fork waits for it, so its child can close all."""


class WorkerProcess:
    """A running worker process and the parent's ends of its pipes.

    Invariant: `kill` signals only while the process is not reaped, so its pid cannot belong to another process. The
    descriptors stay open until `close`, which the owner calls when no thread can be using them. `stderr_fd` is passed
    to a drain, which closes it.
    """

    __slots__ = (
        "_closed",
        "_lifeline_fd",
        "_lock",
        "_oom_kills",
        "_strays",
        "exit_status",
        "killed",
        "pid",
        "pidfd",
        "reaped",
        "stderr_fd",
        "stdin_fd",
        "stdout_fd",
        "worker_id",
    )

    def __init__(
        self,
        worker_id: int,
        pid: int,
        *,
        stdin_fd: int,
        stdout_fd: int,
        stderr_fd: int,
        lifeline_fd: int,
        pidfd: int | None = None,
    ) -> None:
        self.worker_id = worker_id
        self.pid = pid
        self.stdin_fd = stdin_fd
        self.stdout_fd = stdout_fd
        self.stderr_fd = stderr_fd
        self.pidfd = os.pidfd_open(pid) if pidfd is None else pidfd
        self.reaped = False
        self.killed = False
        """Whether this process was alive when its pool killed it."""
        self.exit_status: int | None = None
        self._oom_kills = oom_kills()
        self._strays: dict[int, int] = {}
        self._lifeline_fd = lifeline_fd
        self._lock = threading.Lock()
        self._closed = False
        _LIVING.add(self)

    @classmethod
    def spawn(
        cls,
        worker_id: int,
        command: Sequence[str],
        env: Mapping[str, str],
        *,
        also: Mapping[int, int] | None = None,
        cpus: Collection[int] = (),
        memory_bytes: int | None = None,
        share_stdout: bool = False,
        answers_fd: int = 1,
    ) -> WorkerProcess:
        """Start `command`, in which `{worker_id}` is replaced. Raises StartFailed if it cannot be executed.

        `also` maps descriptor numbers below 10 in the child to descriptors of this process from 10 on. `cpus` are the
        processors that the worker and its children may run on; if empty, those of this thread. `memory_bytes` limits
        the private memory of each of them. With `share_stdout`, STDOUT_FD of the child is this process's stdout, if it
        is open. `answers_fd` is the child's end of the pipe `stdout_fd`; if it is not 1, stdout is the child's stderr.
        """
        words = [word.replace("{worker_id}", str(worker_id)) for word in command]
        with NO_FORK:
            shared = -1
            if share_stdout:
                with contextlib.suppress(OSError):
                    shared = fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, FIRST_FREE_FD)
            try:
                more = {STDOUT_FD: shared} if shared >= 0 else {}
                return cls._spawn(worker_id, words, env, {**(also or {}), **more}, cpus, memory_bytes, answers_fd)
            finally:
                if shared >= 0:
                    os.close(shared)

    @classmethod
    def _spawn(
        cls,
        worker_id: int,
        words: list[str],
        env: Mapping[str, str],
        also: Mapping[int, int],
        cpus: Collection[int],
        memory_bytes: int | None,
        answers_fd: int,
    ) -> WorkerProcess:
        pipes: list[int] = []
        pid = 0
        try:
            stdin_read, stdin_write = open_pipe(pipes, child_end=0)
            stdout_read, stdout_write = open_pipe(pipes, child_end=1)
            stderr_read, stderr_write = open_pipe(pipes, child_end=1)
            lifeline_read, lifeline_write = open_pipe(pipes, child_end=0)
            ends = {
                0: stdin_read,
                1: stderr_write,
                2: stderr_write,
                answers_fd: stdout_write,
                LIFELINE_FD: lifeline_read,
            }
            pid = launch(words, env, {**ends, **also}, cpus, memory_bytes)
            os.set_blocking(stdin_write, False)
            process = cls(
                worker_id,
                pid,
                stdin_fd=stdin_write,
                stdout_fd=stdout_read,
                stderr_fd=stderr_read,
                lifeline_fd=lifeline_write,
            )
        except (OSError, ValueError) as error:  # ValueError: a word or a variable that no program can receive
            if pid:
                end_child(pid)
            for fd in pipes:
                os.close(fd)
            reason = error.strerror if isinstance(error, OSError) else error
            raise StartFailed(
                f"worker {worker_id}: cannot execute {words[0]!r}: {reason}", worker_id=worker_id
            ) from error
        for fd in (stdin_read, stdout_write, stderr_write, lifeline_read):
            os.close(fd)
        return process

    def kill(self) -> None:
        """Send SIGKILL to the worker's process group now. No effect once the worker is reaped."""
        with self._lock:
            if not self.reaped:
                self.killed = self.killed or not self.exited()
                self._look_for_strays()
                self._kill_group()
                self._signal_leader(signal.SIGKILL)
                self._kill_strays()

    @property
    def forking(self) -> bool:
        """Whether another process was asked a moment ago to fork this one, so its pid is about to be known."""
        return False

    def signal(self, signum: int) -> None:
        """Send a signal to the worker itself, and SIGKILL as `kill` does. No effect once the worker is reaped."""
        if signum == signal.SIGKILL:
            self.kill()
            return
        with self._lock:
            if not self.reaped:
                self._signal_leader(signum)

    def end_input(self) -> None:
        """Close the worker's stdin, which asks the worker to exit. Call it only while no thread writes."""
        with self._lock:
            if self.stdin_fd >= 0:
                self._look_for_strays()
                os.close(self.stdin_fd)
                self.stdin_fd = -1

    def exited(self, timeout_s: float = 0.0) -> bool:
        """Return whether the process has ended; waits at most `timeout_s` seconds. True for a reaped process."""
        if self.reaped:
            return True
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return bool(poll.poll(timeout_s * 1000))

    def reap(self, wait_s: float = LONGEST_REAP_S) -> bool:
        """Collect the exit status if the process has ended, and kill the rest of its group. True once reaped.

        If another process has to report the exit status, this waits for it at most `wait_s` seconds.
        """
        with self._lock:
            if self.reaped:
                return True
            if not self.exited():
                return False
            # The dead leader still holds its pid, so this signal can only reach the worker's own children.
            self._kill_group()
            self._kill_strays()
            if not self._collect(wait_s):
                return False
            self.reaped = True
            _LIVING.discard(self)
            return True

    def reap_adopted(self) -> bool:
        """Reap those of the ended worker's processes that this program has adopted. Returns whether none is left.

        A program adopts orphans as the first process of a container (PID 1), or as a subreaper (prctl(2)).
        """
        left = reap_adopted(self._strays.items())
        return not left and not (self.pid and is_child_left(-self.pid))

    def close(self) -> None:
        """Close the parent's ends. Idempotent; the process must be reaped or abandoned."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._release()

    def end(self) -> End:
        """Return how the process ended by itself; unknown if it is not reaped, or if its pool has killed it."""
        status = self.exit_status
        if not self.reaped or status is None or self.killed:
            return UNKNOWN_END
        if status >= 0:
            return End(self.describe_exit(), exit_status=status)
        starved = -status == signal.SIGKILL and oom_kills() > self._oom_kills
        told = "was killed by the kernel's out-of-memory killer (SIGKILL)" if starved else self.describe_exit()
        return End(told, signal=-status, out_of_memory=starved)

    def describe_exit(self) -> str:
        """Describe how the process ended."""
        if not self.reaped or self.exit_status is None:
            return "is gone"
        if self.exit_status < 0:
            try:
                return f"was ended by {signal.Signals(-self.exit_status).name}"
            except ValueError:  # most real-time signals have no name
                return f"was ended by signal {-self.exit_status}"
        return f"exited with status {self.exit_status}"

    def _close_in_child(self) -> None:
        # A forked child must not keep the lifelines and pipes of its parent's workers.
        if not self._closed:
            self._closed = True
            self._release()
        self.reaped = True

    def _look_for_strays(self) -> None:
        # The living processes below the worker that are not in its group. Later their parent may be unknown.
        pid = self.pid
        for child, ticks in descendants(pid) if pid else ():
            with contextlib.suppress(ProcessLookupError):
                if os.getpgid(child) != pid:
                    self._strays[child] = ticks

    def _kill_strays(self) -> None:
        kill_groups(self._strays.items(), timeout_s=0.0)

    # The methods that depend on how a worker was started; called with the lock held, or in a forked child.

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def _signal_leader(self, signum: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # the worker may have left its group
            signal.pidfd_send_signal(self.pidfd, signum)

    def _collect(self, wait_s: float) -> bool:
        with contextlib.suppress(ChildProcessError):  # other code in this program waits for any child
            _, status = os.waitpid(self.pid, 0)
            self.exit_status = os.waitstatus_to_exitcode(status)
        return True

    def _release(self) -> None:
        for fd in (self.stdin_fd, self.stdout_fd, self.pidfd, self._lifeline_fd):
            if fd >= 0:
                os.close(fd)
        self.stdin_fd = -1


def kill_living() -> None:
    """Send SIGKILL to every worker that this process has started and not reaped."""
    for process in list(_LIVING):
        process.kill()


def _after_fork_in_child() -> None:
    for process in list(_LIVING):
        process._close_in_child()
    _LIVING.clear()
    NO_FORK.release()


os.register_at_fork(before=NO_FORK.acquire, after_in_parent=NO_FORK.release, after_in_child=_after_fork_in_child)

"""Starts a program that ends with its parent, with the descriptors that it is given.

The lifeline. The worker inherits the read end of a pipe that only its parent can write to. The kernel is told to send
SIGKILL to the worker's process group when the state of this pipe changes. So any end of the parent, including SIGKILL,
also ends the worker and its children, in any language and however busy they are. A process that leaves the group
(setsid) or closes the pipe escapes that.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import signal
from collections.abc import Collection, Mapping

LIFELINE_FD = 9
WIRE_FD = 6
"""Where a worker whose stdout is not the wire finds the pipe for its responses."""
STDOUT_FD = 7
"""Where a worker that shares this process's stdout finds it."""
DEFAULT_SIGNALS = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTERM, signal.SIGCHLD)
"""Signals that a program starts with unchanged, though this process may ignore them: with SIGTERM ignored it would get
no warning before a deadline, and with SIGCHLD ignored the kernel would drop the exit statuses of its own children."""
FIRST_FREE_FD = 10
"""A descriptor of this process that a child gets under another number has at least this number."""


def launch(
    words: list[str],
    env: Mapping[str, str],
    ends: Mapping[int, int],
    cpus: Collection[int] = (),
    memory_bytes: int | None = None,
) -> int:
    """Start a program in a process group of its own, tied to a lifeline, and return its pid.

    `ends` maps descriptor numbers below 10 in the child, LIFELINE_FD among them, to descriptors of this process from 10
    on. Raises OSError, or ValueError for a word or a variable that no program can receive; then no process is left.
    """
    pid = os.posix_spawnp(
        words[0],
        words,
        env,
        file_actions=[(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in ends.items()],
        setpgroup=0,
        setsigmask=(),
        setsigdef=DEFAULT_SIGNALS,
    )
    try:
        tie(ends[LIFELINE_FD], pid)
        if cpus:
            os.sched_setaffinity(pid, cpus)  # the pid is valid until the process is reaped
        limit_memory(pid, memory_bytes)
    except BaseException:
        end_child(pid)
        raise
    return pid


def end_child(pid: int) -> None:
    """Kill and reap a child whose pid was reported to nobody."""
    with contextlib.suppress(OSError):
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def limit_memory(pid: int, most_bytes: int | None) -> None:
    """Limit the private memory of this process, and of those that it starts from now on."""
    if most_bytes is not None:
        resource.prlimit(pid, resource.RLIMIT_DATA, (most_bytes, most_bytes))


def open_pipe(opened: list[int], *, child_end: int) -> tuple[int, int]:
    """Open a pipe and add it to `opened`. The child's end gets a number above all numbers that a child uses."""
    ends = list(os.pipe2(os.O_CLOEXEC))
    opened += ends
    low = ends[child_end]
    if low < FIRST_FREE_FD:
        ends[child_end] = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, FIRST_FREE_FD)
        opened[opened.index(low)] = ends[child_end]
        os.close(low)
    return ends[0], ends[1]


def tie(lifeline_read: int, pid: int) -> None:
    """Let the kernel send SIGKILL to the group of leader `pid` when the write end of this pipe is closed.

    If the write end is already closed, no signal is sent; POLLHUP reports that.
    """
    fcntl.fcntl(lifeline_read, fcntl.F_SETOWN, -pid)
    fcntl.fcntl(lifeline_read, 10, signal.SIGKILL)  # F_SETSIG, which the fcntl module does not define
    fcntl.fcntl(lifeline_read, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)

"""The zygote's program: imports the workers' modules once, then forks a worker on each request.

Independent of pools. It is started by exec and has one thread, so that its forks are safe. It reaps a worker only on
request, so that no other process gets the pid meanwhile. When its socket ends, it ends its workers and exits.

When it is idle, it forks one process in advance, the spare, which waits for the next request with its memory pages
already copied. So a replacement of a worker does not wait for a fork. A spare is no worker: it exits with its zygote.

Messages in: ("fork", worker id, changes of the environment) with the worker's stdin, stdout, stderr and lifeline;
("reap", worker id) for a worker that has ended; ("discard", worker id) for a worker that is no longer wanted. Messages
out: ("ready",) or ("failed", module, error); ("forked", worker id, pid) with its pidfd, or ("refused", worker id, why);
("reaped", worker id, exit status).
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import select
import signal
import socket
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

from poolproof.bridge.processes.interpreter import PATH_VARIABLE, adopt
from poolproof.bridge.processes.launch import LIFELINE_FD, tie
from poolproof.bridge.processes.zygote.descriptors import SOCKET_FD, Message, close_all, encode, receive, send
from poolproof.bridge.wire.messages import decode_request, encode_success
from poolproof.bridge.worker import program as worker
from poolproof.bridge.worker.handlers import Context, find_handler

PRELOAD_STATUS = 4
DYING_PAUSE_MS = 10
SPARE_PAUSE_MS = 20
"""The idle time before a spare is forked, so that a burst of worker starts has the processors to itself."""
WORKER_FDS = (0, 1, 2, LIFELINE_FD)
REHEARSAL = b'{"id": 0, "command": "ping", "args": {}, "timestamp": "1970-01-01T00:00:00Z"}'


class Spare(NamedTuple):
    """A forked process that waits at the other end of `order` for the request to become a worker."""

    pid: int
    pidfd: int
    order: socket.socket

    def send(self, data: bytes, ends: Sequence[int]) -> bool:
        """Send the request to become a worker. Returns False if the spare is gone."""
        try:
            send(self.order, data, ends, flags=socket.MSG_DONTWAIT)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Close the zygote's descriptors of the spare. A spare without a request then exits."""
        self.order.close()
        os.close(self.pidfd)


class Zygote:
    """Forks workers; `children` are the workers that it has not reaped."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.children: dict[int, int] = {}
        self._spare: Spare | None = None
        self._doomed: set[int] = set()
        self._foreign_fds: list[int] = []

    def warm_up(self, modules: Sequence[str]) -> bool:
        """Import `modules`, and what the worker's program imports late. Returns False, after reporting the reason, if
        one of them cannot be imported.
        """
        for name in (*worker.LATER, *modules):
            try:
                importlib.import_module(name)
            except BaseException as error:
                traceback.print_exc()
                last = traceback.format_exception_only(error)[-1].strip()
                send(self._connection, encode("failed", name, last[:4096]))
                return False
        threads = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
        if threads:
            sys.stderr.write(
                f"zygote: an imported module has started {', '.join(threads)}; these threads will not exist in "
                "the workers\n"
            )
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # if it were ignored, the kernel would reap the workers
        _rehearse()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()  # otherwise each worker would print what is buffered here
        # Descriptors that a module has opened belong to it, and so to the worker.
        fds = {int(fd) for fd in os.listdir("/proc/self/fd")} - {*WORKER_FDS, self._connection.fileno()}
        self._foreign_fds = sorted(fd for fd in fds if _is_open(fd))
        gc.collect()
        gc.freeze()  # a collection in a worker would write to, and so copy, every page that it shares with this process
        return True

    def serve(self) -> Callable[[], int]:
        """Serve requests. Returns what this process must run next; after a fork that is the worker's program."""
        send(self._connection, encode("ready"))
        asked = select.poll()
        asked.register(self._connection, select.POLLIN)
        while True:
            while self._doomed and not asked.poll(DYING_PAUSE_MS):
                self._reap_doomed()  # killed, but a process takes a moment to end
            if self._spare is None and self.children and not asked.poll(SPARE_PAUSE_MS):
                become = self._fork_spare()
                if become is not None:
                    return become
            try:
                received = receive(self._connection)
                if received is None:
                    return self.end
                message, fds = received
                become = self._obey(message, fds)
            except (BrokenPipeError, ConnectionResetError):
                return self.end
            if become is not None:
                return become

    def _obey(self, message: Message, fds: list[int]) -> Callable[[], int] | None:
        match message:
            case ("fork", int(worker_id), dict(changes)):
                return self._fork(worker_id, changes, fds)
            case ("reap", int(worker_id)) if worker_id in self.children:
                _, status = os.waitpid(self.children.pop(worker_id), 0)
                send(self._connection, encode("reaped", worker_id, os.waitstatus_to_exitcode(status)))
            case ("discard", int(worker_id)) if worker_id in self.children:
                _kill(self.children[worker_id])
                self._doomed.add(worker_id)
        return None

    def _fork(self, worker_id: int, changes: dict[str, str | None], ends: list[int]) -> Callable[[], int] | None:
        pidfd = -1
        try:
            if len(ends) != len(WORKER_FDS):
                raise OSError(0, "no file descriptor is left in the zygote")
            if self._hand_over(worker_id, changes, ends):
                return None
            pid = os.fork()
            if pid == 0:
                try:
                    self._connection.detach()
                    return self._become(worker_id, changes, ends)
                except BaseException:
                    traceback.print_exc()
                    os._exit(1)
            self.children[worker_id] = pid
            with contextlib.suppress(OSError):
                os.setpgid(pid, pid)  # the worker does the same; either may come first
            pidfd = os.pidfd_open(pid)
            send(self._connection, encode("forked", worker_id, pid), [pidfd])
        except (BrokenPipeError, ConnectionResetError):
            raise
        except OSError as error:
            if worker_id in self.children:
                _kill(self.children[worker_id])
                self._doomed.add(worker_id)
            send(self._connection, encode("refused", worker_id, error.strerror or str(error)))
        finally:
            close_all([*ends, pidfd] if pidfd >= 0 else ends)
        return None

    def _hand_over(self, worker_id: int, changes: dict[str, str | None], ends: list[int]) -> bool:
        # Returns whether the spare has become this worker.
        spare, self._spare = self._spare, None
        if spare is None:
            return False
        with contextlib.closing(spare):
            if not spare.send(encode("fork", worker_id, changes), ends):
                _kill(spare.pid)
                os.waitpid(spare.pid, 0)
                return False
            self.children[worker_id] = spare.pid
            send(self._connection, encode("forked", worker_id, spare.pid), [spare.pidfd])
        return True

    def _fork_spare(self) -> Callable[[], int] | None:
        # Returns None in the zygote, also if there can be no spare: then the next request forks.
        with contextlib.suppress(OSError):
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                try:
                    pid = os.fork()
                except OSError:
                    ours.close()
                    raise
                if pid == 0:
                    try:
                        ours.close()
                        return self._wait_to_become(theirs)
                    except BaseException:
                        traceback.print_exc()
                        os._exit(1)
            try:
                self._spare = Spare(pid, os.pidfd_open(pid), ours)
            except OSError:
                ours.close()  # then the spare exits
                os.waitpid(pid, 0)
                raise
        return None

    def _wait_to_become(self, order: socket.socket) -> Callable[[], int]:
        # The code of the spare.
        os.setpgid(0, 0)
        self._connection.detach()
        self._close_all_but({*WORKER_FDS[:3], order.fileno(), *self._foreign_fds})
        _rehearse()
        received = receive(order)
        if received is None:
            os._exit(0)  # its zygote has ended
        order.close()
        (_, worker_id, changes), ends = received
        assert isinstance(worker_id, int)
        assert isinstance(changes, dict)
        if len(ends) != len(WORKER_FDS):
            raise OSError(0, "no file descriptor is left in the worker")
        return self._become(worker_id, changes, ends)

    def _become(self, worker_id: int, changes: dict[str, str | None], ends: list[int]) -> Callable[[], int]:
        # The code of the worker. First it ensures that it ends with its parent.
        os.setpgid(0, 0)
        tie(ends[-1], os.getpid())
        if _is_cut(ends[-1]):
            os._exit(0)  # the parent has already closed the lifeline
        for fd, number in zip(ends, WORKER_FDS, strict=True):
            os.dup2(fd, number)
        self._close_all_but({*WORKER_FDS, *self._foreign_fds})
        ends.clear()
        for name, value in changes.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        if PATH_VARIABLE in changes:
            adopt()
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if "numpy.random" in sys.modules:
            sys.modules["numpy.random"].seed()  # otherwise every worker draws the same numbers; `random` reseeds itself
        return lambda: worker.run(worker_id)

    @staticmethod
    def _close_all_but(kept: set[int]) -> None:
        low = 0
        for fd in sorted(kept):
            if low < fd:  # an empty range would close all (CPython 3.11)
                os.closerange(low, fd)
            low = fd + 1
        os.closerange(low, os.sysconf("SC_OPEN_MAX"))

    def _reap_doomed(self) -> None:
        for worker_id in list(self._doomed):
            if os.waitpid(self.children[worker_id], os.WNOHANG) != (0, 0):
                del self.children[worker_id]
                self._doomed.discard(worker_id)

    def end(self) -> int:
        """End every remaining worker, and reap it."""
        pids = list(self.children.values())
        if self._spare is not None:
            pids.append(self._spare.pid)
        for pid in pids:
            _kill(pid)
        for pid in pids:
            os.waitpid(pid, 0)
        return 0


def _kill(pid: int) -> None:
    for send_signal in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            send_signal(pid, signal.SIGKILL)


def _is_cut(lifeline: int) -> bool:
    poll = select.poll()
    poll.register(lifeline, 0)
    return bool(poll.poll(0))


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False  # the descriptor used to read the list
    return True


def _rehearse() -> None:
    # What is done and imported here once is ready in every worker.
    request = decode_request(REHEARSAL)
    encode_success(request.id, find_handler(request.command)(Context(0, "pool-worker", lambda _: None), request.args))


def main(modules: Sequence[str]) -> int:
    """Run a zygote, and after a fork possibly a worker. Returns the exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.filterwarnings("ignore", ".*multi-threaded, use of fork", DeprecationWarning)
    os.dup2(2, 1)
    connection = socket.socket(fileno=SOCKET_FD)
    os.set_inheritable(SOCKET_FD, False)
    zygote = Zygote(connection)
    if not zygote.warm_up(modules):
        return PRELOAD_STATUS
    return zygote.serve()()


if __name__ == "__main__":
    adopt()
    sys.exit(main(sys.argv[1:]))

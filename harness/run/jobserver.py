"""Starts jobs as forks of one process that has all modules imported, so that no run pays for imports. An entry point.

`python -m poolproof.harness.run.jobserver` reads from the socket that is its standard input. Each message has three
descriptors: a job's standard input, output and error. The answer has the pidfd of the new process. The server exits
when the socket is closed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Self

from poolproof.bridge.config import module_command
from poolproof.bridge.processes.interpreter import adopt, environment, with_flags
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.run.job import Job, JobOrder, carry_out_run, serve
from poolproof.harness.run.runner import Request, Subject

ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1"}
"""numpy starts threads when it is imported, and a process that forks should have no threads."""
END_WAIT_S = 5.0


class JobServer:
    """The job server, as its parent sees it. A context manager; `start_job` may be called from any thread.

    `prefix` is the beginning of a command line that runs the server's command; `variables` are added to its
    environment. So the server and all of its jobs may run in another namespace, or with another copy of the package.
    """

    def __init__(self, *, prefix: Sequence[str] = (), variables: Mapping[str, str] = MappingProxyType({})) -> None:
        self._prefix = tuple(prefix)
        self._variables = variables

    def __enter__(self) -> Self:
        self._lock = threading.Lock()
        self._socket, other = socket.socketpair()
        added = {name: value for name, value in ONE_THREAD.items() if name not in os.environ}
        with other:
            self._process = subprocess.Popen(
                (*self._prefix, *with_flags(module_command("poolproof.harness.run.jobserver", *added))),
                stdin=other.fileno(),
                stdout=subprocess.DEVNULL,
                env={**os.environ, **environment(), **added, **self._variables},
                process_group=0,  # Ctrl-C is for the parent, which ends its jobs in order
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        try:
            self._process.wait(END_WAIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def pid(self) -> int:
        """The pid of the server's process."""
        return self._process.pid

    def start_job(self, scenario: Scenario, subject: Subject, request: Request, out: Path) -> Job:
        """Start a run of this scenario on this pool in a separate process; its folder is made under `out`."""
        order = JobOrder(scenario=scenario.name, file=scenario.file, pool=subject.name, request=request, out=str(out))
        return Job(order, fork=self._fork)

    def _fork(self, stdin: int, stdout: int, stderr: int) -> int:
        # Returns the pidfd of a new process with these descriptors. Raises OSError if the server is gone.
        with self._lock:
            socket.send_fds(self._socket, [b"j"], [stdin, stdout, stderr])
            data, fds, _, _ = socket.recv_fds(self._socket, 1, 1)
        if not data or not fds:
            raise OSError("the job server has ended")
        return fds[0]


def main() -> int:
    """Fork a job for each message, until the socket is closed. Jobs do not get the environment variables in argv."""
    for name in sys.argv[1:]:
        del os.environ[name]
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the server does not wait for jobs: their parent has their pidfds
    server = socket.socket(fileno=os.dup(0))
    while True:
        data, fds, _, _ = socket.recv_fds(server, 1, 3)
        if not data:
            return 0
        pid = os.fork()
        if pid == 0:
            server.close()
            _be_a_job(fds)
        pidfd = os.pidfd_open(pid)  # the process is alive: it waits for its order, sent after this answer
        for fd in fds:
            os.close(fd)
        socket.send_fds(server, [b"p"], [pidfd])
        os.close(pidfd)


def _be_a_job(fds: list[int]) -> None:
    status = 1
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for place, fd in enumerate(fds):
            os.dup2(fd, place)
            os.close(fd)
        status = serve(carry_out_run, JobOrder)
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    finally:
        with contextlib.suppress(Exception):
            sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    adopt()
    sys.exit(main())

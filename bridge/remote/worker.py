"""The pool's view of a worker that an agent starts on another node: its three connections, and what the agent reports.

Makes no decisions. A worker counts as ended when its agent says so, or when its whole node counts as lost (`nodes`).

Rules
1. `pidfd` is an eventfd, which becomes readable for ever when the worker has ended.
2. A kill shuts the connections down at once, so that no client waits for it, whatever the network does; the agent is
   asked for the rest. Only the agent's report, or the loss of the node, ends the worker's place in the pool.
3. Nothing here waits. The event loop of `nodes` completes the connections and sends what the agent must know.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable

from poolproof.bridge.clock import deadline_ns, now_ns
from poolproof.bridge.errors import UNKNOWN_END, End
from poolproof.bridge.processes.channel import Channel
from poolproof.bridge.processes.handshake import Handshake
from poolproof.bridge.processes.output.stderr import StderrTail
from poolproof.bridge.processes.process import NO_FORK, WorkerProcess
from poolproof.bridge.remote.protocol import STREAMS, Purpose
from poolproof.bridge.wire.transport import Abilities

PID_PATIENCE_S = 1.0
"""How long the pid of a requested worker counts as about to be known, in seconds."""
EXIT_GRACE_S = 2.0
LOST = "lost its connection"
SendSignal = Callable[[int, int], None]
"""Asks the agent to send worker `id` a signal; never waits."""


class RemoteWorker(WorkerProcess):
    """A worker on another node. Its pid is valid on its node, and 0 as long as it is unknown."""

    __slots__ = ("_out_of_memory", "_patience_ns", "_reason", "_remote_pid", "_send_signal", "_sockets", "node")

    @classmethod
    def connect(cls, worker_id: int, node: str, address: tuple[str, int], send_signal: SendSignal) -> RemoteWorker:
        """Begin to open the connections of a worker; does not wait for them. Raises OSError."""
        with NO_FORK, contextlib.ExitStack() as opened:
            ended = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            opened.callback(os.close, ended)
            sockets = {}
            for purpose in STREAMS:
                sockets[purpose] = opened.enter_context(begin_connection(address))
            worker = cls(worker_id, node, sockets, ended, send_signal)
            opened.pop_all()
        return worker

    def __init__(
        self,
        worker_id: int,
        node: str,
        sockets: dict[Purpose, socket.socket],
        ended: int,
        send_signal: SendSignal,
    ) -> None:
        self.node = node
        self._remote_pid = 0
        self._patience_ns = deadline_ns(PID_PATIENCE_S)
        self._reason = ""
        self._out_of_memory = False
        self._sockets = sockets
        self._send_signal = send_signal
        super().__init__(
            worker_id,
            0,
            stdin_fd=sockets[Purpose.STDIN].fileno(),
            stdout_fd=sockets[Purpose.STDOUT].fileno(),
            stderr_fd=sockets.pop(Purpose.STDERR).detach(),  # the drain closes it
            lifeline_fd=-1,
            pidfd=ended,
        )

    @property
    def pid(self) -> int:
        """The worker's pid on its node."""
        return self._remote_pid

    @pid.setter
    def pid(self, pid: int) -> None:
        self._remote_pid = pid

    @property
    def forking(self) -> bool:
        """Whether the agent was asked for the worker a moment ago, and has not reported its pid."""
        return not self._remote_pid and now_ns() < self._patience_ns and not self.exited()

    # Called by the thread of `nodes`.

    def streams(self) -> dict[Purpose, int]:
        """Return the descriptors of the three connections, as far as they are open."""
        with self._lock:
            if self._closed:
                return {}
            fds = {purpose: stream.fileno() for purpose, stream in self._sockets.items()}
            return {purpose: fd for purpose, fd in fds.items() if fd >= 0} | {Purpose.STDERR: self.stderr_fd}

    def has_ended(self, status: int | None, *, out_of_memory: bool = False, reason: str = "") -> None:
        """Record the worker's end; `reason` is set if it was never started, or if its node was lost. Idempotent."""
        with self._lock:
            if not self._closed and not self.exited():
                self.exit_status = status
                self._out_of_memory = out_of_memory
                self._reason = reason
                if reason:  # otherwise its last response may still be on its way; its connections end by themselves
                    self._shut_down()
                os.eventfd_write(self.pidfd, 1)

    def cut(self) -> None:
        """End every wait for the worker, because its node does not answer."""
        with self._lock:
            self._shut_down()

    def _shut_down(self) -> None:
        for stream in self._sockets.values():
            with contextlib.suppress(OSError):  # not connected yet, or closed
                stream.shutdown(socket.SHUT_RDWR)

    # The differences from a worker of this machine.

    def end_input(self) -> None:
        """Close the worker's stdin, which asks the worker to exit. Call it only while no thread writes."""
        with self._lock:
            self.stdin_fd = -1
            self._sockets[Purpose.STDIN].close()

    def end(self) -> End:
        """Return how the worker ended by itself; unknown if it is not reaped, or if its pool has killed it."""
        if not self.reaped or self.killed:
            return UNKNOWN_END
        if self._reason:
            return End(self._reason)
        status = self.exit_status
        if status is None or status >= 0:
            return UNKNOWN_END if status is None else End(self.describe_exit(), exit_status=status)
        return End(self.describe_exit(), signal=-status, out_of_memory=self._out_of_memory)

    def describe_exit(self) -> str:
        """Describe how the worker ended."""
        if self._reason:
            return self._reason
        if self._out_of_memory:
            return "was killed by the kernel's out-of-memory killer (SIGKILL)"
        return super().describe_exit()

    def reap_adopted(self) -> bool:
        """Return True: the agent reaps on its node."""
        return True

    def _look_for_strays(self) -> None:
        pass  # the agent does

    def _kill_strays(self) -> None:
        pass

    def _kill_group(self) -> None:
        if not self.exited():
            self._shut_down()
            self._send_signal(self.worker_id, signal.SIGKILL)

    def _signal_leader(self, signum: int) -> None:
        if signum != signal.SIGKILL:  # `_kill_group` has sent that
            self._send_signal(self.worker_id, signum)

    def _collect(self, wait_s: float) -> bool:
        return True  # the status came with the report of the end

    def _release(self) -> None:
        for stream in self._sockets.values():
            stream.close()
        self.stdin_fd = self.stdout_fd = -1  # closed with their sockets
        super()._release()
        self.pidfd = -1


class RemoteChannel(Channel):
    """A channel whose pipes are connections: they can also break."""

    __slots__ = ()
    process: RemoteWorker

    def wake_reader(self) -> None:
        """Wake a thread that has not noticed that its worker has ended."""
        self.abandoned = True
        self.process.cut()

    def new_start(self) -> Handshake:
        """Return the handshake in steps. The ping is sent with the first bytes of the connection, by `nodes`."""
        return RemoteHandshake(self.process, self.tail, limit_bytes=self.limit_bytes, abilities=self.abilities)

    def _take_in(self) -> str:
        try:
            return super()._take_in()
        except (ConnectionError, TimeoutError):
            return LOST


class RemoteHandshake(Handshake):
    """The init ping of a worker on another node, whose end is reported on another connection than its stream's."""

    __slots__ = ()

    def __init__(
        self, process: RemoteWorker, tail: StderrTail, *, limit_bytes: int, abilities: Abilities | None = None
    ) -> None:
        super().__init__(process, tail, limit_bytes=limit_bytes, abilities=abilities)
        self.exit_grace_s = EXIT_GRACE_S

    def begin(self) -> None:
        """Do nothing: the ping follows the preface, when the connection is there."""

    def advance(self) -> bool:
        """Read once, when there is something to read. See Handshake.advance."""
        try:
            return super().advance()
        except BlockingIOError:
            return False
        except OSError:  # refused, or broken
            self.cut = True
            return False


def begin_connection(address: tuple[str, int]) -> socket.socket:
    """Return a non-blocking socket that is about to be connected. Raises OSError."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    stream = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(BlockingIOError):
            stream.connect(address)
    except BaseException:
        stream.close()
        raise
    return stream

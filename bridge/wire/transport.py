"""What V2 needs of a worker, wherever it is: to start it, send to it, receive from it, interrupt it, have it leave.

Pure: two protocols. `bridge.processes.channel` fulfils them for a process of this machine, which
`bridge.processes.process` has started by posix_spawn or a zygote has forked (`poolproof.bridge.processes.forked`); a
worker on another host needs the same few things.
"""

from __future__ import annotations

from typing import Protocol

from poolproof.bridge.errors import PoolError, Sent, StartFailed
from poolproof.bridge.wire.receiver import Receiver


class Start(Protocol):
    """The init ping of one worker that starts, in steps that never block."""

    done: bool

    def begin(self) -> None:
        """Ask. Raises StartFailed."""
        ...

    def advance(self) -> bool:
        """Take what has come; True once the worker has answered. Raises StartFailed."""
        ...

    def failed(self, what: str) -> StartFailed:
        """The error that says why this worker did not start. The worker is ended."""
        ...


class ReplyEnd(Protocol):
    """The client's end of a reply pipe (`poolproof.bridge.wire.replies`)."""

    fd: int
    number: int

    def poke(self) -> None:
        """Let the client that waits here go on. From any thread."""
        ...

    def ready(self, timeout_s: float) -> bool:
        """Wait at most so long until there is something to read; whether there is."""
        ...


class Transport(Protocol):
    """The way to one worker. One client at a time uses it: the one that holds the worker.

    `dirty`: something is outstanding, or went wrong, so the worker may not be used again. `overdue`: it was cut off.
    `watched`: somebody calls `cut_off` at the deadline, so that a read need not look at the clock. `receiver` has what
    the worker has sent. `reply_pipe` is where the answer that is due comes, if it does not come from `answer_fd`; only
    a dirty transport has one. `abandoned`: its reader was woken, as the worker has ended.
    """

    dirty: bool
    overdue: bool
    watched: bool
    receiver: Receiver
    reply_pipe: ReplyEnd | None
    abandoned: bool

    @property
    def pid(self) -> int:
        """Its process id, or 0 as long as it has none."""
        ...

    @property
    def exit_fd(self) -> int:
        """A descriptor that is readable once the worker has ended."""
        ...

    @property
    def answer_fd(self) -> int:
        """A descriptor that is readable when the worker has sent something."""
        ...

    @property
    def request_fd(self) -> int:
        """The descriptor that requests are written to; a write never blocks."""
        ...

    def new_start(self) -> Start:
        """Start it, in steps."""
        ...

    def write_some(self, data: memoryview | bytearray) -> int:
        """Write as many of these bytes as the worker takes at once; how many."""
        ...

    def take_in(self) -> str:
        """Read once and feed the receiver; empty, or what the worker did in place of sending something.

        Raises ProtocolError.
        """
        ...

    def take_reply(self, data: bytes) -> None:
        """Take what was read from the reply pipe: the answer, word that it comes by stdout, or nothing."""
        ...

    def await_answer(self, deadline_ns: int) -> None:
        """Wait until the worker has sent something. Raises CallTimeout and WorkerCrashed."""
        ...

    def write(self, left: memoryview, sent: Sent, deadline_ns: int) -> None:
        """Write all of these bytes, of which `sent` had left before. Raises CallTimeout and WorkerCrashed."""
        ...

    def crashed(self, what: str, *, sent: Sent = Sent.YES, wait_s: float = 0.0) -> PoolError:
        """The error that says what the worker did; the worker is killed. CallTimeout if it was cut off.

        Waits at most `wait_s` seconds for the end of its stderr.
        """
        ...

    def unanswered(self, sent: Sent) -> PoolError:
        """The error at the deadline: CallTimeout, or WorkerCrashed if the worker has ended."""
        ...

    def await_last_words(self, wait_s: float) -> bool:
        """Wait at most so many seconds for the end of what it printed to stderr; whether that has come."""
        ...

    def cut_off(self) -> None:
        """Interrupt: end the worker at its call's deadline, and so whatever waits for it. From any thread."""
        ...

    def wake_reader(self) -> None:
        """End the wait of a client whose worker has ended unnoticed. From any thread."""
        ...

    def kill(self) -> None:
        """End the worker now. From any thread."""
        ...

    def retire(self) -> None:
        """Ask the worker to leave; while no client uses it."""
        ...

    def exited(self) -> bool:
        """Whether it has ended."""
        ...

    def reap(self) -> bool:
        """Collect what is left of a worker that has ended. True once that is done."""
        ...

    def close(self) -> None:
        """Close what this process holds of a worker that was reaped."""
        ...

    def describe_exit(self) -> str:
        """How it ended, in words."""
        ...

    def last_words(self) -> str:
        """The end of what it printed to stderr."""
        ...

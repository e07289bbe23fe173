"""What V2 needs of a worker, wherever it is: to start it, exchange with it, interrupt it, and have it leave.

Pure: two protocols. `bridge.channel` fulfils them for a process of this machine, which `bridge.process` has started by
posix_spawn or a zygote has forked (`bridge.forked`); a worker on another host needs the same few things, among them two
descriptors of this process that tell of its end and of its first answer. Reply pipes are for those of this machine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from bridge.errors import StartFailed
from bridge.messages import Response


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


class Reply(Protocol):
    """The client's end of a reply pipe, whose number the request says (`bridge.replies`)."""

    def receive(self, ended: Callable[[], bool]) -> bytes | None:
        """Wait for the answer and give its payload; None if it is to be sought where answers come as always.

        That is so too once the worker has `ended`, or is watched no more, of which a poke tells. What is no frame is
        given as it is.
        """
        ...


class Door(Protocol):
    """The way to one worker. One client at a time uses it: the one that holds the worker's lease.

    `dirty`: something is outstanding, or went wrong, so the worker may not be used again. `overdue`: it was cut off.
    `watched`: somebody calls `cut_off` at the deadline, so that an exchange need not look at the clock.
    """

    dirty: bool
    overdue: bool
    watched: bool

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
        """A descriptor that is readable when the worker has sent something, but through no reply pipe."""
        ...

    def new_start(self) -> Start:
        """Start it, in steps."""
        ...

    def exchange(
        self,
        request_id: int,
        frame: bytearray,
        *,
        deadline_ns: int,
        on_sent: Callable[[], None] | None = None,
        ahead: int = 0,
        reply: Reply | None = None,
    ) -> Response:
        """Send a request, of which `ahead` bytes were written ahead, and give its response, from `reply` if it is said.

        Raises CallTimeout and WorkerCrashed, which say what was sent.
        """
        ...

    def conclude(self, request_id: int, payload: bytes) -> Response:
        """The response that this payload is, which somebody else has received. Raises WorkerCrashed if it is not it."""
        ...

    def write_ahead(self, left: bytearray) -> int:
        """As many bytes of a request as the worker takes at once; how many. It is `dirty` from then on."""
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

    def describe_exit(self) -> str:
        """How it ended, in words."""
        ...

    def last_words(self) -> str:
        """The end of what it printed to stderr."""
        ...

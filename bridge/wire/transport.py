"""The transport protocol: what V2 needs from a worker, to start it, exchange with it, interrupt it and retire it.

Pure: protocols only. `bridge.processes.channel` implements them for a local process, started with posix_spawn
(`bridge.processes.process`) or forked by a zygote (`bridge.processes.zygote.forked`); `bridge.remote.worker` for a
worker on another machine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from poolproof.bridge.errors import End, PoolError, Sent, StartFailed
from poolproof.bridge.interface import PoolFigures
from poolproof.bridge.wire.messages import Memory
from poolproof.bridge.wire.receiver import Receiver


class Abilities:
    """What the workers of one pool can do, as the first of them has said in its response to the init ping."""

    def __init__(self, *, takes_buffers: bool = False, most_kept_bytes: int = 0) -> None:
        self.takes_buffers = takes_buffers
        """Whether they read requests with buffers (`poolproof.bridge.wire.buffers`)."""
        self.most_kept_bytes = most_kept_bytes
        """How much memory each of them may share with the pool between calls; 0 if they cannot share memory."""


class Start(Protocol):
    """The init ping of one starting worker, in steps that never block.

    `done`: the worker has responded. `cut`: its stream has ended; it is probably about to exit, and has `exit_grace_s`
    seconds for that, so that the error can say how.
    """

    done: bool
    cut: bool
    exit_grace_s: float

    def begin(self) -> None:
        """Send the init ping. If the worker is gone, `cut` becomes true, or StartFailed is raised."""
        ...

    def advance(self) -> bool:
        """Read what has arrived. Returns True once the worker has responded. Raises StartFailed."""
        ...

    def failed(self, what: str) -> StartFailed:
        """End the worker and return the error that says why it did not start. Never waits."""
        ...


class ReplyEnd(Protocol):
    """The client's end of a reply pipe (`poolproof.bridge.wire.replies`)."""

    fd: int
    number: int

    def poke(self) -> None:
        """Wake the client that waits at this pipe. May be called from any thread."""
        ...

    def ready(self, timeout_s: float) -> bool:
        """Wait at most `timeout_s` seconds for bytes. Returns whether there are any."""
        ...


class Transport(Protocol):
    """The transport to one worker. Only the client that holds the worker uses it.

    `dirty`: a response is outstanding or something failed, so the worker must not be used again. `overdue`: the worker
    was cut off at its deadline. `watched`: another thread calls `cut_off` at the deadline, so a read need not check the
    clock. `receiver` has the received bytes. `reply_pipe` is the pipe of the response that is due, if it does not come
    from `answer_fd`; only a dirty transport has one. `abandoned`: the reader was woken because the worker has ended.
    `memory` is shared with the worker, which has been given it. `wants_memory`: a large response came without it.
    """

    dirty: bool
    overdue: bool
    watched: bool
    receiver: Receiver
    reply_pipe: ReplyEnd | None
    abandoned: bool
    memory: Memory | None
    wants_memory: bool

    def new_memory(self) -> tuple[int, int, int] | None:
        """Create the memory that this process shares with the worker.

        Returns this process's pid, its descriptor of the memory, and how many bytes are kept between calls at most;
        None if memory cannot be shared.
        """
        ...

    def keep_memory(self, *, shared: bool) -> None:
        """Use the new memory from now on if the worker has opened it (`shared`); else the pool shares none again."""
        ...

    @property
    def pid(self) -> int:
        """The worker's process id, or 0 as long as it has none."""
        ...

    @property
    def forking(self) -> bool:
        """Whether the pid is about to be known: a zygote was asked for the worker a moment ago."""
        ...

    @property
    def exit_fd(self) -> int:
        """A descriptor that becomes readable when the worker has ended."""
        ...

    @property
    def answer_fd(self) -> int:
        """A descriptor that becomes readable when the worker has sent bytes."""
        ...

    @property
    def request_fd(self) -> int:
        """The descriptor for writing requests; a write never blocks."""
        ...

    @property
    def put(self) -> Callable[[bytearray], int]:
        """Writes a request as far as there is room, in one step of the interpreter. Returns the number of bytes.

        Raises OSError.
        """
        ...

    def new_start(self) -> Start:
        """Return the worker's init ping, in steps."""
        ...

    def write_some(self, data: memoryview | bytearray) -> int:
        """Write as many of these bytes as the worker accepts at once. Returns their number."""
        ...

    def take_in(self) -> str:
        """Read once and feed the receiver. Returns an empty string, or a phrase for what the worker did instead.

        Raises ProtocolError.
        """
        ...

    def take_reply(self, data: bytes) -> None:
        """Take bytes from the reply pipe: the response, a note that it comes through stdout, or nothing."""
        ...

    def await_answer(self, deadline_ns: int) -> None:
        """Wait until the worker has sent bytes. Raises CallTimeout or WorkerCrashed."""
        ...

    def write(self, left: memoryview, sent: Sent, deadline_ns: int) -> None:
        """Write all bytes of `left`; `sent` says what was sent before. Raises CallTimeout or WorkerCrashed."""
        ...

    def crashed(self, what: str, *, sent: Sent = Sent.YES, wait_s: float = 0.0, gone: bool = False) -> PoolError:
        """Kill the worker and return the error that says what it did; CallTimeout if it was cut off.

        Waits at most `wait_s` seconds for the end of the worker's stderr, and for its own end if it seems `gone`.
        """
        ...

    def unanswered(self, sent: Sent) -> PoolError:
        """Return the error at the deadline: CallTimeout, or WorkerCrashed if the worker has ended."""
        ...

    def await_end(self, wait_s: float) -> bool:
        """Wait at most `wait_s` seconds until the worker has ended and is reaped. Returns whether it is reaped."""
        ...

    def end(self) -> End:
        """Return how the worker ended by itself, as far as that is known."""
        ...

    def await_last_words(self, wait_s: float) -> bool:
        """Wait at most `wait_s` seconds for the end of the worker's stderr. Returns whether it has ended."""
        ...

    def cut_off(self) -> None:
        """End the worker at its call's deadline, which ends every wait for it. May be called from any thread."""
        ...

    def wake_reader(self) -> None:
        """End the wait of a client whose worker has ended unnoticed. May be called from any thread."""
        ...

    def kill(self) -> None:
        """Kill the worker now. May be called from any thread."""
        ...

    def signal(self, signum: int) -> None:
        """Send the worker a signal: SIGKILL also to its children. May be called from any thread."""
        ...

    def retire(self) -> None:
        """Ask the worker to exit. Only while no client uses it."""
        ...

    def exited(self) -> bool:
        """Return whether the worker has ended."""
        ...

    def reap(self) -> bool:
        """Reap a worker that has ended. Returns True once that is done; never waits."""
        ...

    def close(self) -> None:
        """Close this process's descriptors of a reaped worker."""
        ...

    def describe_exit(self) -> str:
        """Describe how the worker ended."""
        ...

    def last_words(self) -> str:
        """Return the last lines of the worker's stderr."""
        ...


class Figures(Protocol):
    """Where others ask for the pool's figures: `fd` is readable when somebody does."""

    fd: int

    def answer(self, describe: Callable[[], PoolFigures]) -> bool:
        """Answer what was asked. Never waits. Returns False if nothing more can be answered."""
        ...


class Processes(Protocol):
    """The worker processes of one pool. `in_child`: this is a copy in a forked child, which owns nothing."""

    name: str
    reply_dir: str
    abilities: Abilities
    in_child: bool

    def open_figures(self) -> Figures | None:
        """Return where others ask for the pool's figures; None if nobody can. It ends with `shut_down`."""
        ...

    def next_id(self) -> int:
        """Return an unused worker id."""
        ...

    def spawn(self, worker_id: int) -> Transport:
        """Start one worker process; its init ping is still to be done. Raises StartFailed."""
        ...

    def release(self, transport: Transport) -> None:
        """Forget a reaped worker. No thread may be using it."""
        ...

    def tidy(self) -> None:
        """Reap the orphans of ended workers that this program has adopted. Never waits."""
        ...

    def shut_down(self) -> None:
        """Release the pool's name, after all workers are reaped. Idempotent."""
        ...

    def require_owner(self) -> None:
        """Raise PoolClosed in a forked child."""
        ...

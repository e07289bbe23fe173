"""A ticket: one call's place in the queue, and what it was given.

Knows nothing of workers' processes. Its state changes under the pool's lock, but for one step; waiting, and writing a
request ahead through the worker's door, happen outside it.

    NEW ─┬─> ACCEPTED                     a worker was idle
         ├─> WAITING ─┬─> OFFERED ─┬─> ACCEPTED    the client woke, or its request was written: no lock
         │            │            └─> WITHDRAWN   the client left between hand-off and wake-up
         │            ├─> WITHDRAWN               the client left the queue
         │            └─> REFUSED                 the pool closed, or cannot start workers
         └─> REFUSED
"""

from __future__ import annotations

import threading
from enum import Enum, auto

import msgspec

from bridge import PoolError
from pool_v2.roster import Worker
from pool_v2.sessions import Session


class TicketState(Enum):
    """Where a ticket is on its way to a worker."""

    NEW = auto()
    WAITING = auto()
    OFFERED = auto()
    ACCEPTED = auto()
    WITHDRAWN = auto()
    REFUSED = auto()


_ACCEPTED = TicketState.ACCEPTED
UNTOLD = -1
BROKEN_OFF = -2
WRITING_S = 0.001
"""How soon to look again whether another client has written the request that it is just writing."""
LONGEST_WRITING_S = 5.0
"""How long a write that never blocks may take, on the busiest machine."""


class Gate:
    """What one client waits behind. Opened once or more before or during its wait, it lets it go on once.

    `answer` is what its client was waiting for in the end, if that has come through the gate itself.
    """

    __slots__ = ("_lock",)
    answer: bytes | None = None

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def open(self) -> None:
        """Let the waiting thread go on. From any thread."""
        try:
            self._lock.release()
        except RuntimeError:
            pass  # it is open already

    def was_written(self) -> None:
        """Another has written its client's request, all of it. From any thread."""
        self.open()

    def wait(self, timeout_s: float | None) -> bool:
        """Wait for it to open, at most `timeout_s` seconds unless that is None; whether it did."""
        if timeout_s is None:
            return self._lock.acquire()
        return self._lock.acquire(timeout=timeout_s) if timeout_s > 0 else self._lock.acquire(blocking=False)


class Ticket(msgspec.Struct, eq=False):
    """A call that wants a worker. `worker` is set exactly while the ticket owns one (OFFERED, ACCEPTED).

    `deadline_ns` is when its worker is ended, `patience_ns` when the supervisor ends its wait if its client does not,
    `thread_id` who waits, `queued_ns` since when, or 0 if it never did. Each waiter has a `gate` of its own, so that a
    hand-off wakes exactly the thread that it is for.

    `claim` has the request of a waiter that another client may write for it when it hands its worker over. Invariant:
    who pops it, which is one step of the interpreter, writes it; nobody else does. `ahead` is how many bytes the other
    client has written, UNTOLD until it has, or BROKEN_OFF. If the answer comes through the gate, its client need not
    wait to be told. Neither of the two may be a thread that signals interrupt; if the writer is broken off by something
    else, the request counts as written, and its client ends the worker: the writer may come too late for that.
    """

    call: int
    session: Session | None = None
    deadline_ns: int = 2**63
    thread_id: int = 0
    claim: list[bytearray] | None = None
    patience_ns: int = 2**63
    state: TicketState = TicketState.NEW
    worker: Worker | None = None
    error: PoolError | None = None
    gate: Gate | None = None
    queued_ns: int = 0
    ahead: int = UNTOLD

    @property
    def worker_id(self) -> int | None:
        """The id of the worker that it owns."""
        return None if self.worker is None else self.worker.worker_id

    @property
    def sleeping(self) -> bool:
        """Whether its client may be waiting behind its gate."""
        return self.gate is not None

    @property
    def answered(self) -> bool:
        """Whether the answer has come through its gate."""
        return self.gate is not None and self.gate.answer is not None

    def hand_over(self) -> None:
        """Let its client have the worker that it was offered, and write its request if that may be done for it.

        For the client that has offered it, unless signals interrupt that one. If all of the request was written, its
        client goes on at the answer; otherwise at once.
        """
        claim, worker, gate = self.claim, self.worker, self.gate
        if not claim or worker is None or gate is None:
            self.wake()
            return
        mine, size, written = True, 0, 0
        try:
            try:
                frame = claim.pop()
            except IndexError:
                mine = False
                return  # its own client was quicker
            size, written = len(frame), BROKEN_OFF  # until it is told, nobody can say what has left
            written = worker.door.write_ahead(frame)
            if written == size:
                self.state = _ACCEPTED  # from now on its deadline ends the worker, and not its wait
        finally:
            if mine and not claim:
                self.ahead = written
            if written and written == size:
                gate.was_written()
            else:
                gate.open()

    def take_back(self) -> int:
        """From now on nobody else writes the request. How many bytes of it were written ahead; all, if below 0."""
        claim = self.claim
        if claim is None:
            return 0
        try:
            claim.pop()
        except IndexError:
            left = LONGEST_WRITING_S / WRITING_S
            while self.ahead == UNTOLD and self.gate is not None and not self.answered:
                self.gate.wait(WRITING_S)
                left -= 1
                if left < 0:  # its own client has popped it, and was broken off
                    self.ahead = BROKEN_OFF
            if self.ahead == BROKEN_OFF and self.worker is not None:
                self.worker.door.kill()
            return self.ahead
        self.claim = None
        return 0

    def arm(self) -> None:
        """Make `wait` wait; before the ticket is put in the queue."""
        if self.gate is None:
            self.gate = Gate()

    def wake(self) -> None:
        """Let the waiting thread go on. A second time changes nothing, or has it look at the ticket once more."""
        gate = self.gate  # which its client may take away, being awake
        if gate is not None:
            gate.open()

    def wait(self, timeout_s: float) -> bool:
        """Wait for `wake` or for the answer to what was written ahead, at most `timeout_s` seconds; whether it came."""
        assert self.gate is not None, "only an armed ticket waits"
        return self.gate.wait(timeout_s)

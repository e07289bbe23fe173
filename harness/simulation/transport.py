"""The simulated transport to one worker: `poolproof.bridge.wire.transport` without a kernel.

It feeds the production receiver as `poolproof.bridge.processes.channel` does, but from buffers instead of pipes.
"""

from __future__ import annotations

from typing import Any

from poolproof.bridge.errors import (
    UNKNOWN_END,
    CallTimeout,
    End,
    PoolError,
    ProtocolError,
    Sent,
    StartFailed,
    WorkerCrashed,
)
from poolproof.bridge.wire.framing import HEADER_BYTES
from poolproof.bridge.wire.messages import INIT_ID, Memory, decode_response, encode_request
from poolproof.bridge.wire.receiver import Receiver
from poolproof.bridge.wire.transport import ReplyEnd
from poolproof.harness.simulation.state import State
from poolproof.harness.simulation.workers import SimWorker

READ_BYTES = 4096
POKE, ELSEWHERE = b"\xff", b"\xfe"


class SimPipe:
    """A reply pipe: its client sleeps until somebody writes."""

    def __init__(self, world: State, number: int) -> None:
        self.number = self.fd = number
        self.data = b""
        self.client: Any = None
        self._world = world

    def write(self, data: bytes) -> None:
        """Write to the pipe."""
        self.data += data
        if self.client is not None:
            self.client.wake_up()

    def poke(self) -> None:
        """Wake the client that waits at this pipe. May be called from any thread."""
        self.write(POKE)

    def ready(self, timeout_s: float) -> bool:
        """Wait at most `timeout_s` seconds for bytes. Returns whether there are any."""
        return bool(self.data)

    def read(self) -> bytes:
        """Return what was written."""
        data, self.data = self.data, b""
        return data


class SimTransport:
    """One worker's transport. `put` and the rest of the protocol are used by the pool, `deliver` by the worker."""

    def __init__(self, world: State, worker: SimWorker, limit_bytes: int) -> None:
        self.world = world
        self.worker = worker
        worker.transport = self
        self.limit_bytes = limit_bytes
        self.receiver = Receiver(limit_bytes=limit_bytes)
        self.reply_pipe: ReplyEnd | None = None
        self.dirty = self.overdue = self.watched = self.abandoned = self.wants_memory = False
        self.memory: Memory | None = None
        self.pid = worker.worker_id + 10_000
        self.forking = False
        self.exit_fd = worker.worker_id * 4 + 1
        self.answer_fd = worker.worker_id * 4 + 2
        self.request_fd = worker.worker_id * 4 + 3
        self.stdout = b""
        self.eof = False
        self.reaped = self.closed = False
        self.exited_ns = 2**63
        self.reader: Any = None
        self.writer: Any = None

    def new_memory(self) -> tuple[int, int, int] | None:
        """See poolproof.bridge.wire.transport.Transport: simulated workers share no memory."""
        return None

    def keep_memory(self, *, shared: bool) -> None:
        """Use the new memory from now on if the worker has opened it (`shared`); else the pool shares none again."""
        raise AssertionError("there is no memory to keep")

    # What the worker does.

    def deliver(self, data: bytes) -> None:
        """Take bytes that the worker writes to its stdout."""
        if self.worker.alive:
            self.stdout += data
            self._wake()

    def on_exit(self) -> None:
        """The worker has ended; its stdout ends too, unless another process holds it open."""
        self.exited_ns = self.world.now_ns()
        if not self.worker.stranger:
            self.eof = True
            self._wake()
        if self.writer is not None:
            self.writer.wake_up()
        self.world.watch.ready(self.exit_fd)

    def make_room(self) -> None:
        """The worker reads from its stdin."""
        if self.writer is not None:
            self.writer.wake_up()

    def _wake(self) -> None:
        if self.reader is not None:
            self.reader.wake_up()
        else:
            self.world.watch.ready(self.answer_fd)

    def readable(self) -> bool:
        """Whether a read would return at once."""
        return bool(self.stdout) or self.eof or self.abandoned

    # What the pool does.

    def put(self, data: bytearray) -> int:
        """Writes a request as far as there is room, in one step of the interpreter. Returns the number of bytes."""
        return self._write(data)

    def _write(self, data: bytearray | memoryview) -> int:
        worker = self.worker
        if not worker.alive or worker.stdin_closed:
            raise BrokenPipeError("the worker has closed its stdin")
        room = worker.room()
        if room <= 0:
            raise BlockingIOError("the pipe is full")
        size = len(data)
        self.world.on_write(worker.worker_id, room < size)
        if room >= size:
            worker.receive(data)
            return size
        worker.receive(data[:room])
        return room

    def write_some(self, data: memoryview | bytearray) -> int:
        """Write as many of these bytes as the worker accepts at once. Returns their number."""
        self.dirty = True
        try:
            return self._write(data)
        except OSError:
            return 0

    def can_write(self) -> bool:
        """Whether a write would accept a byte or fail at once."""
        worker = self.worker
        return not worker.alive or worker.stdin_closed or worker.room() > 0

    def take_in(self) -> str:
        """Read once and feed the receiver. Returns an empty string, or a phrase for what the worker did instead."""
        receiver, pipe = self.receiver, self.reply_pipe
        if pipe is not None:
            if not self.abandoned or pipe.ready(0.0):
                assert isinstance(pipe, SimPipe)
                self.take_reply(pipe.read())
                return ""
            self.reply_pipe = None
            if not self.stdout and not self.eof:
                return receiver.describe_gap()
        if receiver.partial:
            room = receiver.room()
            count = min(len(room), len(self.stdout))
            if not count:
                return receiver.describe_gap()
            room[:count] = self.stdout[:count]
            self.stdout = self.stdout[count:]
            receiver.fill(count)
            return ""
        data, self.stdout = self.stdout[:READ_BYTES], self.stdout[READ_BYTES:]
        size = len(data) - HEADER_BYTES
        if size >= 0 and not receiver.torn and int.from_bytes(data[:4], "big") == size <= self.limit_bytes:
            receiver.payloads.append(data[HEADER_BYTES:])
            return ""
        if not data:
            return receiver.describe_gap()
        try:
            receiver.feed(data)
        except ProtocolError as error:
            raise ProtocolError(f"broke the protocol: {error}") from error
        return ""

    def take_reply(self, data: bytes) -> None:
        """Take bytes from the reply pipe: the response, a note that it comes through stdout, or nothing."""
        data = data.strip(POKE)
        if data == ELSEWHERE:
            self.reply_pipe = None
        elif data:
            whole = int.from_bytes(data[:4], "big") == len(data) - HEADER_BYTES
            self.receiver.payloads.append(data[HEADER_BYTES:] if whole else data)

    def await_answer(self, deadline_ns: int) -> None:
        """Never called: the simulated clients wait by themselves."""
        raise AssertionError("a simulated client waits by itself")

    def write(self, left: memoryview, sent: Sent, deadline_ns: int) -> None:
        """Never called: the simulated clients wait by themselves."""
        raise AssertionError("a simulated client waits by itself")

    def crashed(self, what: str, *, sent: Sent = Sent.YES, wait_s: float = 0.0, gone: bool = False) -> PoolError:
        """Kill the worker and return the error that says what it did; CallTimeout if it was cut off."""
        if self.overdue:
            return self._late(sent)
        self.kill()
        worker_id = self.worker.worker_id
        return WorkerCrashed(f"worker {worker_id} {what}", sent=sent, worker_id=worker_id)

    def unanswered(self, sent: Sent) -> PoolError:
        """Return the error at the deadline: CallTimeout, or WorkerCrashed if the worker has ended."""
        return self._late(sent) if self.worker.alive else self.crashed("died before it answered", sent=sent)

    def _late(self, sent: Sent) -> CallTimeout:
        return CallTimeout("the deadline has passed", sent=sent, worker_id=self.worker.worker_id)

    def await_end(self, wait_s: float) -> bool:
        """Wait at most `wait_s` seconds until the worker has ended and is reaped. Returns whether it is reaped."""
        return True

    def end(self) -> End:
        """Return how the worker ended by itself, as far as that is known."""
        return UNKNOWN_END

    def await_last_words(self, wait_s: float) -> bool:
        """Wait at most `wait_s` seconds for the end of the worker's stderr. Returns whether it has ended."""
        return True

    def cut_off(self) -> None:
        """End the worker at its call's deadline, and so every wait for it. May be called from any thread."""
        self.overdue = True
        self.kill()

    def wake_reader(self) -> None:
        """End the wait of a client whose worker has ended unnoticed. May be called from any thread."""
        self.abandoned = True
        if self.reply_pipe is not None:
            self.reply_pipe.poke()
        self._wake()

    def kill(self) -> None:
        """Kill the worker now. May be called from any thread."""
        worker, world = self.worker, self.world
        if worker.alive:
            world.note("kill", worker.worker_id)
            if world.kill_ns:
                world.scheduler.at(world.now_ns() + world.kill_ns, worker.exit, None)
            else:
                worker.exit(None)

    def signal(self, signum: int) -> None:
        """See poolproof.bridge.wire.transport.Transport. A simulated worker catches no signal."""
        self.kill()

    def retire(self) -> None:
        """Ask the worker to exit. Only while no client uses it."""
        self.world.note("retire", self.worker.worker_id)
        self.worker.close_input()

    def exited(self) -> bool:
        """Return whether the worker has ended."""
        return not self.worker.alive

    def reap(self) -> bool:
        """Reap a worker that has ended. Returns True once that is done; never waits."""
        if not self.reaped and self.world.now_ns() >= self.exited_ns + self.world.reap_ns:
            self.reaped = True
            self.world.note("reap", self.worker.worker_id)
        return self.reaped

    def close(self) -> None:
        """Close this process's descriptors of a reaped worker."""
        self.closed = True

    def describe_exit(self) -> str:
        """Describe how the worker ended."""
        return "ended"

    def last_words(self) -> str:
        """Return the last lines of the worker's stderr."""
        return ""

    def new_start(self) -> SimStart:
        """Return the worker's init ping, in steps."""
        return SimStart(self)


class SimStart:
    """The init ping of one starting worker."""

    def __init__(self, transport: SimTransport) -> None:
        self._transport = transport
        self._receiver = Receiver(limit_bytes=transport.limit_bytes)
        self.done = False
        self.cut = False
        self.exit_grace_s = 0.1

    def begin(self) -> None:
        """Send the init ping. If the worker is gone, `cut` becomes true, or StartFailed is raised."""
        frame = encode_request(INIT_ID, "ping", {}, limit_bytes=self._transport.limit_bytes)
        try:
            self._transport.put(frame)
        except OSError as error:
            raise self.failed("died before it answered its init ping") from error

    def advance(self) -> bool:
        """Read what has arrived. Returns True once the worker has responded. Raises StartFailed."""
        transport, receiver = self._transport, self._receiver
        data, transport.stdout = transport.stdout, b""
        if not data:
            raise self.failed("ended its stream")
        try:
            receiver.feed(data)
        except ProtocolError as error:
            raise self.failed(f"sent what is no frame: {error}") from error
        while receiver.payloads:
            try:
                response = decode_response(receiver.payloads.popleft())
            except ProtocolError:
                continue
            if response.id == INIT_ID:
                if not response.success:
                    raise self.failed(f"refused its init ping: {response.error}")
                self.done = True
                transport.world.note("ready", transport.worker.worker_id)
        return self.done

    def failed(self, what: str) -> StartFailed:
        """End the worker and return the error that says why it did not start. Never waits."""
        worker_id = self._transport.worker.worker_id
        self._transport.world.note("startfail", worker_id)
        self._transport.kill()
        return StartFailed(f"worker {worker_id} {what}", worker_id=worker_id)

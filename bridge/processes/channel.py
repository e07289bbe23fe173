"""One blocking exchange with one worker: write a request, read its response, both before one absolute deadline.

Independent of queues. A channel owns no descriptor and reaps nothing; it raises every failure and stays `dirty`. It
kills a worker that broke the protocol, so that its stderr ends; a worker that is only late is killed by its pool.

A normal channel checks the clock before each read (a poll). A *watched* channel reads without this check, which saves a
system call: another thread, the watcher, calls `cut_off` at the deadline, and `wake_reader` if the worker has ended.
"""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Callable
from functools import partial
from struct import Struct

from poolproof.bridge.clock import now_ns, remaining_s
from poolproof.bridge.errors import CallTimeout, End, ProtocolError, Sent, WorkerCrashed
from poolproof.bridge.processes.blocking import BLOCKING, TAIL_WAIT_S
from poolproof.bridge.processes.handshake import READ_BYTES, Handshake
from poolproof.bridge.processes.output.stderr import StderrTail
from poolproof.bridge.processes.polling import ready
from poolproof.bridge.processes.process import WorkerProcess
from poolproof.bridge.wire.exchange import receive, run, send
from poolproof.bridge.wire.framing import HEADER_BYTES
from poolproof.bridge.wire.messages import Memory, Response
from poolproof.bridge.wire.receiver import Receiver
from poolproof.bridge.wire.replies import ELSEWHERE, POKE
from poolproof.bridge.wire.segment import Segment
from poolproof.bridge.wire.transport import Abilities, ReplyEnd

REPLY_LOOK_S = 0.05
"""How often an unwatched client at a reply pipe checks whether the worker has ended, in seconds."""
WAKING_BYTE = b"\0"
DIED = "died before it answered its init ping"
CUT = "ended its stream before it answered its init ping"
_size_of = Struct(">I").unpack_from


class Channel:
    """The channel to one worker, used by one thread at a time: the thread that holds the lease.

    Invariant: `dirty` is true from the first written byte until the whole response with the request's id was read, and
    for ever after a failure. A dirty channel's worker is never used again.
    """

    __slots__ = (
        "_new_memory",
        "_read_poll",
        "_write_poll",
        "abandoned",
        "abilities",
        "answer_fd",
        "dirty",
        "limit_bytes",
        "memory",
        "overdue",
        "process",
        "put",
        "receiver",
        "reply_pipe",
        "request_fd",
        "tail",
        "wants_memory",
        "watched",
    )

    def __init__(
        self,
        process: WorkerProcess,
        tail: StderrTail,
        *,
        limit_bytes: int,
        watched: bool = False,
        abilities: Abilities | None = None,
    ) -> None:
        self.process = process
        self.tail = tail
        self.abilities = abilities or Abilities()
        self.dirty = False
        self.watched = watched
        self.overdue = False
        self.abandoned = False
        self.reply_pipe: ReplyEnd | None = None
        self.limit_bytes = limit_bytes
        self.request_fd = process.stdin_fd
        self.put = partial(os.write, process.stdin_fd)
        self.answer_fd = process.stdout_fd
        self.receiver = Receiver(limit_bytes=limit_bytes)
        self.memory: Memory | None = None
        self._new_memory: Segment | None = None
        self.wants_memory = False
        # The pidfd reports a worker's death even while another process holds the other end of the worker's stdout.
        self._read_poll = select.poll()
        self._read_poll.register(process.stdout_fd, select.POLLIN)
        self._read_poll.register(process.pidfd, select.POLLIN)
        self._write_poll = select.poll()
        self._write_poll.register(process.stdin_fd, select.POLLOUT)
        self._write_poll.register(process.pidfd, select.POLLIN)

    def exchange(
        self, request_id: int, frame: bytearray, *, deadline_ns: int, on_sent: Callable[[], None] = lambda: None
    ) -> Response:
        """Send `frame` and return the response to `request_id`; `on_sent` is called when the last byte was sent.

        Raises CallTimeout at the deadline, and WorkerCrashed for a dead worker or a broken stream. Both say what was
        sent; after WorkerCrashed with Sent.NO the request can go to another worker.
        """
        for _ in send(BLOCKING, self, frame, deadline_ns):
            raise AssertionError("a thread's step is over when it was made")
        on_sent()
        return run(receive(BLOCKING, self, request_id, deadline_ns))

    # The Transport protocol: see poolproof.bridge.wire.transport.
    @property
    def pid(self) -> int:
        """The worker's process id, or 0 as long as it is not forked."""
        return self.process.pid

    @property
    def forking(self) -> bool:
        """Whether a zygote was asked for the worker a moment ago, and has not reported its pid."""
        return self.process.forking

    @property
    def exit_fd(self) -> int:
        """A descriptor that becomes readable when the worker has ended."""
        return self.process.pidfd

    def kill(self) -> None:
        """Send SIGKILL to the worker's process group now."""
        self.process.kill()

    def signal(self, signum: int) -> None:
        """Send the worker a signal: SIGKILL also to its children."""
        self.process.signal(signum)

    def retire(self) -> None:
        """Close the worker's stdin, which asks the worker to exit. Only while no thread writes."""
        self.process.end_input()

    def exited(self) -> bool:
        """Return whether the process has ended."""
        return self.process.exited()

    def reap(self) -> bool:
        """Collect the worker's exit status if it has ended. Returns True once that is done. Never waits."""
        return self.process.reap(0.0)

    def close(self) -> None:
        """Close this process's descriptors of a reaped worker."""
        self.process.close()
        for memory in (self.memory, self._new_memory):
            if memory is not None:
                memory.close()

    def new_memory(self) -> tuple[int, int, int] | None:
        """Create the memory that this process shares with the worker.

        Returns this process's pid, its descriptor of the memory, and the bytes kept between calls at most; else None.
        """
        if not self.abilities.most_kept_bytes:
            return None
        try:
            self._new_memory = Segment.create(most_kept_bytes=self.abilities.most_kept_bytes)
        except OSError:
            return None
        return os.getpid(), self._new_memory.fd, self.abilities.most_kept_bytes

    def keep_memory(self, *, shared: bool) -> None:
        """Use the new memory from now on if the worker has opened it (`shared`); else the pool shares none again."""
        memory, self._new_memory = self._new_memory, None
        assert memory is not None, "it was created before"
        if shared:
            self.memory = memory
        else:
            self.abilities.most_kept_bytes = 0
            memory.close()

    def await_end(self, wait_s: float) -> bool:
        """Wait at most `wait_s` seconds until the worker has ended and is reaped. Returns whether it is reaped."""
        deadline = now_ns() + int(wait_s * 1e9)
        return self.process.exited(wait_s) and self.process.reap(remaining_s(deadline))

    def end(self) -> End:
        """Return how the worker ended by itself, as far as that is known."""
        return self.process.end()

    def describe_exit(self) -> str:
        """Describe how the worker ended."""
        return self.process.describe_exit()

    def last_words(self) -> str:
        """Return the last lines of the worker's stderr."""
        return self.tail.text()

    # These methods are called by the watcher, from another thread.

    def cut_off(self) -> None:
        """End the worker at the deadline, which ends every wait for it. The exchange then raises CallTimeout."""
        self.overdue = True
        self.process.kill()

    def wake_reader(self) -> None:
        """Wake a thread that has not noticed that its worker has ended.

        That happens if another process holds the worker's stdout, or if the thread reads from a reply pipe, which stays
        open after the worker's end. The read end of a pipe can be opened for writing under /proc, so one byte ends the
        wait.
        """
        self.abandoned = True
        pipe = self.reply_pipe
        if pipe is not None:
            pipe.poke()
        with contextlib.suppress(OSError):
            fd = os.open(f"/proc/self/fd/{self.answer_fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                os.write(fd, WAKING_BYTE)
            finally:
                os.close(fd)

    def handshake(self, *, deadline_ns: int) -> None:
        """Ping the worker with id 0 and wait for the response. Raises StartFailed."""
        start = self.new_start()
        start.begin()
        while not start.done:
            if start.cut:
                raise start.failed(DIED if self.process.exited(TAIL_WAIT_S) else CUT)
            if now_ns() > deadline_ns or not ready(self._read_poll, self.process.stdout_fd, deadline_ns):
                raise start.failed(DIED if self.process.exited() else "did not answer its init ping in time")
            start.advance()

    def new_start(self) -> Handshake:
        """Return the handshake in steps, for a thread that starts several workers at once."""
        return Handshake(self.process, self.tail, limit_bytes=self.limit_bytes, abilities=self.abilities)

    def write_some(self, data: memoryview | bytearray) -> int:
        """Write as many bytes as the worker's stdin accepts at once. Returns their number; 0 if the worker is gone."""
        self.dirty = True
        try:
            return os.write(self.request_fd, data)
        except OSError:  # full or closed: the read or `write` reports it
            return 0

    def write(self, left: memoryview, sent: Sent, deadline_ns: int) -> None:
        """Write all bytes of `left`; `sent` says what was sent before. Raises CallTimeout or WorkerCrashed."""
        self.dirty = True
        while True:
            if now_ns() > deadline_ns or not ready(self._write_poll, self.request_fd, deadline_ns):
                if self.process.exited():
                    raise self.crashed("does not read its requests", sent=sent, gone=True)
                raise self.late(sent)
            try:
                written = os.write(self.request_fd, left)
            except BlockingIOError:
                written = 0
            except OSError as error:  # EPIPE: the worker has closed its end
                raise self.crashed("does not read its requests", sent=sent, gone=True) from error
            if written:
                # Some bytes were sent, but a worker never executes an incomplete request.
                sent = Sent.MAYBE
                left = left[written:]
                if not left:
                    return

    def take_in(self) -> str:
        """Read once and feed the receiver. Returns an empty string, or a phrase for what the worker did instead.

        Blocks if there is nothing to read. Raises ProtocolError.

        Some event loops (libuv's, which uvloop runs) put each descriptor that they watch in non-blocking mode and leave
        it so. Then a read of an empty pipe fails once: the mode is set back, and the caller waits again.
        """
        try:
            return self._take_in()
        except BlockingIOError:
            os.set_blocking(self.answer_fd, True)
            return ""

    def _take_in(self) -> str:
        receiver, pipe = self.receiver, self.reply_pipe
        if pipe is not None:
            if not self.abandoned or pipe.ready(0.0):
                self.take_reply(os.read(pipe.fd, READ_BYTES))
                return ""
            self.reply_pipe = pipe = None  # if the worker responded before its end, it did so on stdout
            if not ready(self._read_poll, self.answer_fd, 0):
                return receiver.describe_gap()
        if not receiver.partial:
            data = os.read(self.answer_fd, READ_BYTES)
            size = len(data) - HEADER_BYTES
            if size >= 0 and not receiver.torn and _size_of(data)[0] == size <= self.limit_bytes and not self.abandoned:
                receiver.payloads.append(data[HEADER_BYTES:])  # the usual case: one whole frame
                return ""
            if self.abandoned:
                data = data.rstrip(WAKING_BYTE)  # no response ends with this byte
            if not data:
                return receiver.describe_gap()
            try:
                receiver.feed(data)
            except ProtocolError as error:
                raise ProtocolError(f"broke the protocol: {error}") from error
            return ""
        got = os.readv(self.answer_fd, [receiver.room()])
        if not got or self.abandoned:
            return receiver.describe_gap()
        receiver.fill(got)
        return ""

    def take_reply(self, data: bytes) -> None:
        """Take bytes from the reply pipe: the response, a note that it comes through stdout, or nothing."""
        size = len(data) - HEADER_BYTES
        if size >= 0 and _size_of(data)[0] == size:
            self.receiver.payloads.append(data[HEADER_BYTES:])
            return
        data = data.strip(POKE)
        if data == ELSEWHERE:
            self.reply_pipe = None
        elif data:
            whole = len(data) > HEADER_BYTES and _size_of(data)[0] == len(data) - HEADER_BYTES
            self.receiver.payloads.append(data[HEADER_BYTES:] if whole else data)  # not a frame: no response

    def await_answer(self, deadline_ns: int) -> None:
        """Wait until the worker has sent bytes. Raises CallTimeout or WorkerCrashed."""
        pipe = self.reply_pipe
        if pipe is not None:
            while not pipe.ready(min(remaining_s(deadline_ns), REPLY_LOOK_S)):
                if self.process.exited() and not pipe.ready(0.0):
                    self.abandoned = True  # `take_in` then checks the worker's stdout
                    return
                if now_ns() > deadline_ns:
                    raise self.unanswered(Sent.YES)
            return
        if not ready(self._read_poll, self.answer_fd, deadline_ns):
            raise self.unanswered(Sent.YES)

    def unanswered(self, sent: Sent) -> CallTimeout | WorkerCrashed:
        """Return the error at the deadline: CallTimeout, or WorkerCrashed if the worker has ended."""
        if self.process.exited():
            return self.crashed("died before it answered", sent=sent, gone=True)
        return self.late(sent)

    def late(self, sent: Sent) -> CallTimeout:
        """Return the error that says that the deadline has passed."""
        what = "did not answer" if sent is Sent.YES else "did not take the whole request"
        return CallTimeout(
            f"worker {self.process.worker_id} {what} by the call's deadline",
            sent=sent,
            worker_id=self.process.worker_id,
        )

    def await_last_words(self, wait_s: float) -> bool:
        """Wait at most `wait_s` seconds for the end of the worker's stderr. Returns whether it has ended."""
        return self.tail.await_end(wait_s)

    def crashed(
        self, what: str, *, sent: Sent = Sent.YES, wait_s: float = TAIL_WAIT_S, gone: bool = False
    ) -> CallTimeout | WorkerCrashed:
        """Kill the worker and return the error that says what it did; CallTimeout if it was cut off.

        Waits at most `wait_s` seconds for the end of the worker's stderr; its last lines are part of the error. If the
        worker seems to be `gone`, this also waits as long for its exit, and the error tells how it exited.
        """
        if self.overdue:
            return self.late(sent)
        if gone:
            self.await_end(wait_s)
        self.process.kill()
        self.await_last_words(wait_s)
        self.process.reap(0.0)
        ended = self.process.end()
        return WorkerCrashed(
            ended.after(f"worker {self.process.worker_id} (pid {self.process.pid}) {what}"),
            sent=sent,
            worker_id=self.process.worker_id,
            stderr_tail=self.tail.text(),
            ended=ended,
        )

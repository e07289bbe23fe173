"""The worker's program: reads a request, runs its handler, writes the response, until its input ends.

Independent of pools. Frames go over duplicates of descriptors 0 and 1. Then descriptor 0 reads nothing and 1 writes to
stderr, so output of a handler, in any language, cannot reach the stream. A child that a handler forks never writes
responses. A request may name a reply pipe for its response (`poolproof.bridge.wire.replies`).
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import select
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from struct import Struct
from types import FrameType
from typing import TYPE_CHECKING, Any

from msgspec import UNSET, UnsetType

from poolproof.bridge.errors import ProtocolError, SoftTimeout
from poolproof.bridge.processes.interpreter import OUTPUT_VARIABLE, TERM_VARIABLE, WIRE_VARIABLE, adopt
from poolproof.bridge.wire.framing import FRAME_LIMIT_VARIABLE, HEADER_BYTES, encode_frame, frame_size
from poolproof.bridge.wire.messages import (
    ATTACH,
    INIT_ID,
    Request,
    decode_request,
    encode_failure,
    encode_init,
    encode_part,
    encode_success,
)
from poolproof.bridge.wire.replies import ELSEWHERE, LARGEST_REPLY_BYTES, NO_FD, REPLY_DIR_VARIABLE, ReplyWriters
from poolproof.bridge.worker.handlers import COMMANDS_VARIABLE, Context, HandlerError, add_commands, find_handler
from poolproof.bridge.worker.handlers.engine import PROGRAMS_VARIABLE, load_engine
from poolproof.bridge.worker.journal import JOURNAL_VARIABLE, Journal

if TYPE_CHECKING:
    from poolproof.bridge.wire.segment import Segment

DEFAULT_FRAME_LIMIT_BYTES = 128 * 1024 * 1024
ORPHAN_GRACE_S = 1.0
"""How long a busy worker continues after its pool has hung up, in seconds."""
READ_BYTES = 64 * 1024
LARGE_BYTES = 256 * 1024
"""From this size on, header and payload are written separately, so that the payload is not copied."""
KEPT_BYTES = 4 * 1024 * 1024
"""Freed memory up to this size is kept for reuse, instead of being returned and faulted in again at each call."""
LATER = (
    "poolproof.bridge.dspy.signature",
    "poolproof.bridge.wire.segment",
    "poolproof.bridge.worker.handlers.pickles",
)
"""The modules that a worker imports when a call first needs them. A zygote imports them before it forks."""
USAGE = "usage: python -m poolproof.bridge.worker.program [--worker-id N] [--mode NAME]"
DEFAULT_MODE = "pool-worker"
USAGE_STATUS = 2
BAD_INPUT_STATUS = 3
MOST_UNREAD_BYTES = 32 * 1024
"""A size that fits in any pipe."""
REPLY_TO_BYTES = 32
"""The maximum size of the reply pipe's number, which the pool adds to a request beyond the frame limit."""
_size_of = Struct(">I").unpack_from


class Wire:
    """The two descriptors for frames, and the reply pipe of the current request, if it has one."""

    def __init__(self, read_fd: int, write_fd: int, *, limit_bytes: int) -> None:
        self.read_fd = read_fd
        self._write_fd = write_fd
        self._limit_bytes = limit_bytes
        reply_dir = os.environ.get(REPLY_DIR_VARIABLE, "")
        self._replies = ReplyWriters(reply_dir)
        self._reply_fd = NO_FD
        self._most_bytes = limit_bytes + REPLY_TO_BYTES if reply_dir else limit_bytes
        self.unread = 0
        """If above 0: the maximum size of a response that no client reads before this process ends."""
        self.memory: Segment | None = None
        """The memory that is shared with the pool, for large buffers."""
        self._held = b""
        self._owner_pid = os.getpid()

    @classmethod
    def take(cls, *, limit_bytes: int) -> Wire:
        """Duplicate the descriptors of requests and responses, and replace stdin and stdout by harmless ones."""
        told = os.environ.pop(WIRE_VARIABLE, "")
        answers_fd = int(told) if told.isdecimal() else 1
        wire = cls(os.dup(0), os.dup(answers_fd), limit_bytes=limit_bytes)
        if answers_fd != 1:
            os.close(answers_fd)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        os.dup2(2, 1)
        _show_output()
        return wire

    def watch(self) -> None:
        """From now on, end this process if the pool hangs up, even while it is busy."""
        threading.Thread(target=watch_for_hang_up, args=(self.read_fd, ORPHAN_GRACE_S), daemon=True).start()

    def read(self) -> bytes | bytearray | None:
        """Return the next payload, or None at the end of the stream. Raises ProtocolError for an oversize header."""
        held = self._held
        if not held:
            held = os.read(self.read_fd, READ_BYTES)
            if len(held) >= HEADER_BYTES and len(held) - HEADER_BYTES == _size_of(held)[0] <= self._most_bytes:
                return held[HEADER_BYTES:]  # the usual case: one whole request
        while len(held) < HEADER_BYTES:
            more = os.read(self.read_fd, READ_BYTES)
            if not more:
                return None
            held += more
        size = frame_size(held, limit_bytes=self._most_bytes)
        end = HEADER_BYTES + size
        if len(held) >= end:
            self._held = held[end:]
            return held[HEADER_BYTES:end]
        self._held = b""
        return self._read_rest(held, size)

    def _read_rest(self, held: bytes, size: int) -> bytearray | None:
        # Reads straight into the payload's own memory, so that large payloads are never copied.
        payload = bytearray(size)
        view = memoryview(payload)
        have = len(held) - HEADER_BYTES
        view[:have] = held[HEADER_BYTES:]
        while have < size:
            got = os.readv(self.read_fd, [view[have:]])
            if not got:
                return None
            have += got
        return payload

    def reply_to(self, number: int) -> None:
        """Send the next response through this reply pipe. Raises OSError; then the response goes through stdout."""
        self._reply_fd = self._replies[number]

    def write(self, payload: bytes | bytearray) -> None:
        """Write one frame. Raises ProtocolError if it is over the limit.

        A child that a handler has forked exits here: only its parent responds and reads the next request.
        """
        if os.getpid() != self._owner_pid:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(0)
        size, reply_fd = len(payload), self._reply_fd
        if self.unread and size > self.unread:
            raise ProtocolError(f"{size} bytes, and without its reply pipe {self.unread} can be sent")
        if reply_fd >= 0 and size <= LARGEST_REPLY_BYTES - HEADER_BYTES and size <= self._limit_bytes:
            self._reply_fd = NO_FD
            os.write(reply_fd, size.to_bytes(HEADER_BYTES, "big") + payload)
        elif LARGE_BYTES <= size <= self._limit_bytes:
            self.write_raw(size.to_bytes(HEADER_BYTES, "big"))
            self.write_raw(payload)
        else:
            self.write_raw(encode_frame(payload, limit_bytes=self._limit_bytes))

    def write_raw(self, data: bytes | bytearray) -> None:
        """Write these bytes, without a frame, to the normal response stream."""
        if self._reply_fd >= 0:
            fd, self._reply_fd = self._reply_fd, NO_FD
            os.write(fd, ELSEWHERE)
        written = os.write(self._write_fd, data)
        if written != len(data):
            left = memoryview(data)[written:]
            while left:
                left = left[os.write(self._write_fd, left) :]


def _show_output() -> None:
    # A pool that shows its workers' output wants each line when it is printed, and forwards stdout to its own.
    shown = os.environ.pop(OUTPUT_VARIABLE, "")
    if not shown:
        return
    if shown.isdigit():
        with contextlib.suppress(OSError):  # the pool's program has no stdout
            os.dup2(int(shown), 1)
            os.close(int(shown))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)


_NO_HANDLERS = frozenset({"poolproof.bridge.worker.journal", "poolproof.bridge.wire.messages"})
"""The modules of the functions that `_answer` calls besides a handler."""
PLAIN = frozenset({str, int, float, bool, dict, list, tuple, type(None)})
"""Types that most handlers return. None of them is an iterator, and looking here is faster than asking the value."""


def serve(wire: Wire, context: Context, journal: Journal) -> int:
    """Respond to requests until the input ends or a handler asks to exit. Returns the exit status."""
    watched = False
    while not context.leaving:
        try:
            payload = wire.read()
        except ProtocolError as error:
            sys.stderr.write(f"worker {context.worker_id}: {error}\n")
            return BAD_INPUT_STATUS
        if payload is None:
            return 0
        try:
            request = decode_request(payload, wire.memory)
        except ProtocolError as error:
            context.error_count += 1
            _turn_to(_salvage_reply_to(payload), wire, context)
            wire.write(encode_failure(_salvage_id(payload), str(error)))
            continue
        if request.reply_to is not UNSET:
            _turn_to(request.reply_to, wire, context)
        first, watched = not watched, True
        if first and request.id != INIT_ID:
            wire.watch()
        if request.id == INIT_ID and request.command == ATTACH:
            wire.write(_attach(wire, request.args))
            continue
        _answer(wire, context, journal, request)
        if first and request.id == INIT_ID:  # the pool waits for the init ping, and starting a thread is slower
            wire.watch()
        del request, payload  # otherwise the next request could not reuse the memory of this one
    return 0


def _attach(wire: Wire, args: dict[str, Any]) -> bytes | bytearray:
    # Opens the memory that the pool offers. If that is not possible, both go on without.
    from poolproof.bridge.wire.segment import Segment

    try:
        wire.memory = Segment.open(int(args["pid"]), int(args["fd"]), most_kept_bytes=int(args["kept"]), reuses=True)
    except OSError as error:
        return encode_failure(INIT_ID, f"the pool's memory cannot be opened: {error.strerror}")
    return encode_success(INIT_ID, True)


def _turn_to(number: int | UnsetType, wire: Wire, context: Context) -> None:
    # If its pipe cannot be opened, the client looks for the response on stdout after this process has ended.
    if number is not UNSET:
        try:
            wire.reply_to(number)
        except OSError as error:
            sys.stderr.write(f"worker {context.worker_id}: cannot open reply pipe {number}: {error.strerror}\n")
            context.leaving = True
            wire.unread = MOST_UNREAD_BYTES


def _answer(wire: Wire, context: Context, journal: Journal, request: Request) -> None:
    entry = None
    if request.id != INIT_ID:
        entry = journal.begin(request.id, request.command, request.args.get("nonce"))
    context.command_count += 1
    context.request_id = request.id
    ok = False
    try:
        result = find_handler(request.command)(context, request.args)
        if request.id == INIT_ID:
            response: bytes | bytearray = encode_init(request.id, result)
        elif type(result) not in PLAIN and isinstance(result, Iterator):
            response = _stream(wire, request, result)
        else:
            response = encode_success(request.id, result, wire.memory if request.inline is UNSET else None)
        ok = True
    except HandlerError as error:
        response = encode_failure(request.id, str(error))
    except Exception as error:
        response = encode_failure(request.id, f"{type(error).__name__}: {error}")
    context.error_count += not ok
    journal.end(entry, ok=ok)
    try:
        wire.write(response)
    except ProtocolError as error:
        wire.write(encode_failure(request.id, f"the response is too large: {error}"))


def _stream(wire: Wire, request: Request, parts: Iterator[object]) -> bytes | bytearray:
    # Each part is sent when it is ready, as fast as the pool reads. A client that did not ask for parts gets a list.
    if request.stream is not True:
        return encode_success(request.id, list(parts))
    for part in parts:
        wire.write(encode_part(request.id, part, more=True))
    return encode_part(request.id, None, more=False)


def _salvage_id(payload: bytes | bytearray) -> int:
    # An invalid request may still contain its id.
    found = re.search(rb'"id"\s*:\s*(\d{1,18})', payload)
    return int(found[1]) if found else 0


def _salvage_reply_to(payload: bytes | bytearray) -> int | UnsetType:
    found = re.search(rb'"reply_to":(\d{1,18})}\Z', payload)
    return int(found[1]) if found else UNSET


def watch_for_hang_up(fd: int, grace_s: float) -> None:
    """End this process `grace_s` seconds after the other end of `fd` is closed, even while it is busy."""
    poll = select.poll()
    poll.register(fd, 0)  # POLLHUP and POLLERR are always reported
    poll.poll()
    threading.Event().wait(grace_s)
    os._exit(0)


def raise_in_handler(_: int, frame: FrameType | None) -> None:
    """The handler of SIGTERM: raise SoftTimeout in the command that runs.

    Has no effect between two commands, or while a response is being written, because a response must be whole.
    """
    inner: FrameType | None = None
    while frame is not None and frame.f_code is not _answer.__code__:
        if frame.f_code in (Wire.write.__code__, Wire.write_raw.__code__):
            return
        inner, frame = frame, frame.f_back
    if frame is not None and inner is not None and inner.f_globals.get("__name__") not in _NO_HANDLERS:
        raise SoftTimeout("the deadline of this call is near: the worker got SIGTERM")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a worker: `--worker-id N [--mode NAME]`. Returns the exit status."""
    try:
        options = _parse(sys.argv[1:] if argv is None else argv)
    except ValueError as error:
        sys.stderr.write(f"{error}\n{USAGE}\n")
        return USAGE_STATUS
    return run(*options)


def _parse(words: Sequence[str]) -> tuple[int, str]:
    # Not by argparse: to import and use it takes a tenth of a worker's start.
    worker_id, mode = 0, DEFAULT_MODE
    left = [part for word in words for part in (word.split("=", 1) if word.startswith("--") else [word])]
    while left:
        match left:
            case ["--worker-id", value, *left] if value.isdecimal():
                worker_id = int(value)
            case ["--mode", mode, *left]:
                pass
            case _:
                raise ValueError(f"invalid options: {' '.join(words)}")
    return worker_id, mode


def run(worker_id: int, mode: str = DEFAULT_MODE) -> int:
    """Run a worker on descriptors 0, 1 and 2 until the input ends. Returns the exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if os.environ.pop(TERM_VARIABLE, ""):
        signal.signal(signal.SIGTERM, raise_in_handler)
    limit_bytes = int(os.environ.get(FRAME_LIMIT_VARIABLE, DEFAULT_FRAME_LIMIT_BYTES))
    wire = Wire.take(limit_bytes=limit_bytes)
    bytes(KEPT_BYTES)  # glibc raises its threshold to the largest freed block, see mallopt(3)
    try:
        engine = load_engine(os.environ.get(PROGRAMS_VARIABLE, ""))  # its imports count as part of the start
        if added := os.environ.get(COMMANDS_VARIABLE):
            add_commands(added)
    except HandlerError as error:
        sys.stderr.write(f"worker {worker_id}: {error}\n")
        return BAD_INPUT_STATUS
    context = Context(worker_id, mode, wire.write_raw, engine)
    try:
        return serve(wire, context, Journal(worker_id, os.environ.get(JOURNAL_VARIABLE)))
    except BrokenPipeError:
        return 0  # the pool has closed its end without waiting for the response


if __name__ == "__main__":
    adopt()
    sys.exit(main())

"""The lower bound: a child that only reads and writes, over a pipe or a socketpair, with or without the codec.

No queue, no lock, no deadline, no second worker. `python -m benchmarks.raw pipe|bytes|codec` is the child.
"""

from __future__ import annotations

import itertools
import os
import shlex
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from poolproof.bridge.wire.framing import HEADER_BYTES, encode_frame
from poolproof.bridge.wire.messages import decode_request, decode_response, encode_request, encode_success

ROOT = Path(__file__).parent.parent
READ_BYTES = 64 * 1024
LIMIT_BYTES = 256 * 1024 * 1024
END_TIMEOUT_S = 10.0
Call = Callable[[str, dict[str, Any]], object]
"""`call(command, args)` returns the child's answer."""


@contextmanager
def pipe_call(worker_command: str | None = None) -> Iterator[Call]:
    """One request out and one response in, in the caller's thread: no pool with this codec can be faster.

    The child is this module, or any program that speaks the wire protocol.
    """
    with _child("pipe", stdin=subprocess.PIPE, stdout=subprocess.PIPE, command=worker_command) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        write_fd, read_fd = child.stdin.fileno(), child.stdout.fileno()

        def call(command: str, args: dict[str, Any]) -> object:
            os.write(write_fd, encode_request(1, command, args, limit_bytes=LIMIT_BYTES))
            return decode_response(os.read(read_fd, READ_BYTES)[HEADER_BYTES:]).result

        yield call


@contextmanager
def pipes_in_turn(children: int) -> Iterator[Call]:
    """Several children that are used in turn, like the workers of a pool; for one client."""
    with ExitStack() as stack:
        calls = itertools.cycle([stack.enter_context(pipe_call()) for _ in range(children)])
        yield lambda command, args: next(calls)(command, args)


@contextmanager
def hand_off(children: int, worker_command: str | None = None) -> Iterator[Call]:
    """The least possible fair pool: children behind one lock, each given to the client that has waited longest.

    It gives no guarantees: it handles no deadline, no worker death and no interrupt, and has no statistics.
    """
    lock = threading.Lock()
    waiters: deque[tuple[threading.Lock, list[Call]]] = deque()
    with ExitStack() as stack:
        idle = deque(stack.enter_context(pipe_call(worker_command)) for _ in range(children))

        def call(command: str, args: dict[str, Any]) -> object:
            with lock:
                mine = idle.popleft() if idle else None
                if mine is None:
                    gate, box = threading.Lock(), list[Call]()
                    gate.acquire()
                    waiters.append((gate, box))
            if mine is None:
                gate.acquire()
                mine = box[0]
            result = mine(command, args)
            with lock:
                if waiters:
                    gate, box = waiters.popleft()
                    box.append(mine)
                    gate.release()
                else:
                    idle.append(mine)
            return result

        yield call


@contextmanager
def pipe_a_client(children: int) -> Iterator[Call]:
    """One child for each client."""
    own = threading.local()
    with ExitStack() as stack:
        calls = [stack.enter_context(pipe_call()) for _ in range(children)]
        free = itertools.cycle(calls)  # every round of measurement has new clients

        def call(command: str, args: dict[str, Any]) -> object:
            mine: Call | None = getattr(own, "call", None)
            if mine is None:
                mine = own.call = next(free)
            return mine(command, args)

        yield call


@contextmanager
def bytes_echo() -> Iterator[Callable[[memoryview], memoryview]]:
    """Moves bytes to a child and back over a socketpair, without a codec, into one buffer that is reused."""
    buffer = bytearray()
    with _socket_child("bytes") as ours:

        def move(data: memoryview) -> memoryview:
            if len(buffer) < len(data):
                buffer.extend(bytes(len(data) - len(buffer)))
            ours.sendall(len(data).to_bytes(HEADER_BYTES, "big"))
            ours.sendall(data)
            header = _receive(ours, memoryview(bytearray(HEADER_BYTES)))
            return _receive(ours, memoryview(buffer)[: int.from_bytes(header, "big")])

        yield move


@contextmanager
def codec_echo() -> Iterator[Call]:
    """Like `bytes_echo`, but with requests and responses that both ends encode and decode as a pool does."""
    with _socket_child("codec") as ours:

        def call(command: str, args: dict[str, Any]) -> object:
            ours.sendall(encode_request(1, command, args, limit_bytes=LIMIT_BYTES))
            return decode_response(_receive_frame(ours)).result

        yield call


@contextmanager
def _socket_child(kind: str) -> Iterator[socket.socket]:
    ours, theirs = socket.socketpair()
    with ours, theirs, _child(kind, stdin=theirs.fileno(), stdout=subprocess.DEVNULL):
        theirs.close()
        yield ours
        ours.shutdown(socket.SHUT_RDWR)


@contextmanager
def _child(kind: str, *, stdin: int, stdout: int, command: str | None = None) -> Iterator[subprocess.Popen[bytes]]:
    words = [sys.executable, "-m", "benchmarks.raw", kind] if command is None else shlex.split(command)
    child = subprocess.Popen(words, cwd=ROOT, stdin=stdin, stdout=stdout, bufsize=0)
    try:
        yield child
    finally:
        for stream in (child.stdin, child.stdout):
            if stream is not None:
                stream.close()
        child.kill()
        child.wait(END_TIMEOUT_S)


def _receive(source: socket.socket, view: memoryview) -> memoryview:
    have = 0
    while have < len(view):
        got = source.recv_into(view[have:])
        if not got:
            raise EOFError("the other end has left")
        have += got
    return view


def serve_pipe() -> None:
    """The child of `pipe_call`; it handles only whole frames of less than READ_BYTES."""
    while data := os.read(0, READ_BYTES):
        request = decode_request(data[HEADER_BYTES:])
        args = request.args
        result = args.get("value")
        if request.command == "sleep":
            time.sleep(args["seconds"])
            result = {"slept_s": args["seconds"], "nonce": args.get("nonce")}
        os.write(1, encode_frame(encode_success(request.id, result)))


def serve_bytes(ours: socket.socket) -> None:
    """The child of `bytes_echo`, until its input ends."""
    buffer = bytearray()
    header = memoryview(bytearray(HEADER_BYTES))
    while True:
        size = int.from_bytes(_receive(ours, header), "big")
        if len(buffer) < size:
            buffer = bytearray(size)
        ours.sendall(header)
        ours.sendall(_receive(ours, memoryview(buffer)[:size]))


def serve_codec(ours: socket.socket) -> None:
    """The child of `codec_echo`, until its input ends."""
    while True:
        request = decode_request(_receive_frame(ours))
        payload = encode_success(request.id, request.args.get("value"))
        ours.sendall(len(payload).to_bytes(HEADER_BYTES, "big"))
        ours.sendall(payload)


def _receive_frame(source: socket.socket) -> bytearray:
    header = _receive(source, memoryview(bytearray(HEADER_BYTES)))
    payload = bytearray(int.from_bytes(header, "big"))
    _receive(source, memoryview(payload))
    return payload


def main(kind: str) -> None:
    """Run the child of the given kind; descriptor 0 is its pipe or socket."""
    if kind == "pipe":
        serve_pipe()
        return
    with socket.socket(fileno=os.dup(0)) as ours:
        try:
            {"bytes": serve_bytes, "codec": serve_codec}[kind](ours)
        except (EOFError, ConnectionError):
            pass  # the parent has exited


if __name__ == "__main__":
    main(sys.argv[1])

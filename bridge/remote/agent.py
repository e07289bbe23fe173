"""The agent of a node: starts the workers of pools that run elsewhere, and ends them with their pool.

    POOLPROOF_TOKEN=... python -m poolproof.bridge.remote.agent --host 10.0.0.7 --port 7000

Decides nothing: it starts a worker when its pool asks, with the three connections that the pool has opened for it as
the worker's standard streams, and reports its end. It sees no request and no response.

Rules
1. A connection that does not prove itself is closed; nothing that it sends is interpreted (`protocol`). At most
   `MOST_STRANGERS` wait for that at the same time, each for `GREETING_S` at most.
2. When a pool's control connection ends, or the pool is silent for as long as it said itself, its workers are killed
   before the connection is closed.
3. When the agent ends, however that happens, the kernel kills its workers (the lifeline of `bridge.processes.process`).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from poolproof.bridge.errors import ProtocolError
from poolproof.bridge.processes.interpreter import WIRE_VARIABLE
from poolproof.bridge.processes.launch import FIRST_FREE_FD, LIFELINE_FD, WIRE_FD, launch, open_pipe
from poolproof.bridge.processes.process import NO_FORK, WorkerProcess
from poolproof.bridge.remote.protocol import (
    LENGTH,
    NONCE_BYTES,
    PREFACE,
    PROOF_BYTES,
    PYTHON,
    STREAMS,
    AnyMessage,
    Beat,
    Ended,
    Hello,
    Preface,
    Purpose,
    Signal,
    Start,
    Started,
    decode,
    encode,
    length_of,
    prove,
    same,
    stream_proof,
)

TOKEN_VARIABLE = "POOLPROOF_TOKEN"
LEAST_TOKEN_BYTES = 16
GREETING_S = 5.0
"""How long a connection may take to prove itself, in seconds."""
MOST_STRANGERS = 256
BEATS_PER_SILENCE = 5
REAP_LOOK_S = 0.01
logger = logging.getLogger(__name__)


class Session:
    """The workers of one pool on this node. Runs in the agent's event loop."""

    def __init__(self, key: bytes, writer: asyncio.StreamWriter) -> None:
        self._key = key
        self._writer = writer
        self._streams: dict[int, dict[Purpose, socket.socket]] = {}
        self._starts: dict[int, Start] = {}
        self._workers: dict[int, WorkerProcess] = {}
        self._used: set[int] = set()
        self._over = False

    def admit(self, preface: Preface, stream: socket.socket) -> None:
        """Take over a connection that belongs to one of this pool's workers. Raises ProtocolError."""
        worker_id, purpose = preface.worker_id, preface.purpose
        if self._over or not same(preface.secret, stream_proof(self._key, purpose, worker_id)):
            raise ProtocolError("the connection does not prove that it belongs to the pool")
        if worker_id in self._used or purpose in self._streams.get(worker_id, ()):
            raise ProtocolError(f"worker {worker_id} has this stream already")
        self._streams.setdefault(worker_id, {})[purpose] = stream
        self._start_if_complete(worker_id)

    async def converse(self, reader: asyncio.StreamReader) -> None:
        """Obey the pool's messages until the connection ends or the pool is silent for too long."""
        silence_s = 0.0
        beats: asyncio.Task[None] | None = None
        try:
            async with asyncio.timeout(GREETING_S):
                hello = await read_message(reader)
            if not isinstance(hello, Hello) or not 0 < hello.silence_s <= 3600:
                raise ProtocolError("the pool did not say hello")
            silence_s = hello.silence_s
            beats = asyncio.create_task(send_beats(self._writer, silence_s))
            while True:
                async with asyncio.timeout(silence_s):
                    message = await read_message(reader)
                self._obey(message)
        except TimeoutError:
            logger.warning("a pool was silent for %g s; its %d workers are ended", silence_s, len(self._workers))
        finally:
            if beats is not None:
                beats.cancel()
            await self._end()

    def _obey(self, message: AnyMessage) -> None:
        match message:
            case Start(worker_id=worker_id):
                self._starts[worker_id] = message
                self._start_if_complete(worker_id)
            case Signal(worker_id=worker_id, signum=signum) if worker_id in self._workers:
                self._workers[worker_id].signal(signum)
            case Signal(worker_id=worker_id, signum=signal.SIGKILL) if worker_id not in self._used:
                self._forget(worker_id, "it was killed before it was started")

    def _start_if_complete(self, worker_id: int) -> None:
        streams = self._streams.get(worker_id, {})
        if worker_id not in self._starts or len(streams) < len(STREAMS):
            return
        try:
            process = _start(self._starts[worker_id], [streams[purpose] for purpose in STREAMS])
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            self._forget(worker_id, f"cannot execute {self._starts[worker_id].command[0]!r}: {reason}")
            return
        self._forget(worker_id)
        self._workers[worker_id] = process
        self._tell(Started(worker_id, process.pid))
        asyncio.get_running_loop().add_reader(process.pidfd, self._on_exit, worker_id)

    def _forget(self, worker_id: int, reason: str = "") -> None:
        # The streams now belong to the worker's process, or to nobody.
        self._used.add(worker_id)
        for stream in self._streams.pop(worker_id, {}).values():
            stream.close()
        self._starts.pop(worker_id, None)
        if reason:
            self._tell(Ended(worker_id, None, reason=reason))

    def _on_exit(self, worker_id: int) -> None:
        process = self._workers[worker_id]
        if process.reap():
            asyncio.get_running_loop().remove_reader(process.pidfd)
            del self._workers[worker_id]
            self._tell(Ended(worker_id, process.exit_status, process.end().out_of_memory))
            process.close()

    def _tell(self, message: AnyMessage) -> None:
        if not self._over:
            self._writer.write(encode(message))

    async def _end(self) -> None:
        self._over = True
        for streams in self._streams.values():
            for stream in streams.values():
                stream.close()
        for process in self._workers.values():
            process.kill()
        while self._workers:  # each is removed by `_on_exit`
            await asyncio.sleep(REAP_LOOK_S)


class Agent:
    """Listens at one address, and serves any number of pools that know the token."""

    def __init__(self, token: bytes, *, host: str = "127.0.0.1", port: int = 0) -> None:
        """Bind the address; port 0 means any free port. Raises ValueError for a short token, and OSError."""
        if len(token) < LEAST_TOKEN_BYTES:
            raise ValueError(f"the token has {len(token)} bytes; at least {LEAST_TOKEN_BYTES} are needed")
        self._token = token
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, port), family=family, backlog=1024)
        self._listener.setblocking(False)
        self._sessions: dict[bytes, Session] = {}
        self._strangers: dict[asyncio.Task[None], socket.socket] = {}

    @property
    def address(self) -> tuple[str, int]:
        """The host and the port at which the agent listens."""
        host, port = self._listener.getsockname()[:2]
        return str(host), int(port)

    async def serve(self) -> None:
        """Accept connections until cancelled; then the workers of all pools are ended."""
        loop = asyncio.get_running_loop()
        tasks: set[asyncio.Task[None]] = set()
        try:
            while True:
                try:
                    connection, _ = await loop.sock_accept(self._listener)
                except OSError as error:  # no descriptor is left
                    logger.warning("a connection could not be accepted: %s", error.strerror)
                    await asyncio.sleep(REAP_LOOK_S)
                    continue
                if len(self._strangers) >= MOST_STRANGERS:
                    next(iter(self._strangers)).cancel()
                task = asyncio.create_task(self._greet(connection))
                self._strangers[task] = connection
                tasks.add(task)
                task.add_done_callback(tasks.discard)
        finally:
            self._listener.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _greet(self, connection: socket.socket) -> None:
        task = asyncio.current_task()
        assert task is not None
        kept = False
        try:
            async with asyncio.timeout(GREETING_S):
                preface = Preface.decode(await _read_exactly(connection, PREFACE.size))
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if preface.purpose is not Purpose.CONTROL:
                    self._sessions[preface.pool].admit(preface, connection)
                    kept = True
                    return
                key = await self._authenticate(connection, preface)
            del self._strangers[task]
            await self._converse(preface.pool, key, connection)
        except (OSError, ProtocolError, EOFError, KeyError):  # KeyError: no such pool
            pass
        finally:
            self._strangers.pop(task, None)
            if not kept:
                connection.close()

    async def _authenticate(self, connection: socket.socket, preface: Preface) -> bytes:
        loop = asyncio.get_running_loop()
        nonce = os.urandom(NONCE_BYTES)
        await loop.sock_sendall(connection, nonce + prove(self._token, b"agent", preface.secret, nonce))
        proof = await _read_exactly(connection, PROOF_BYTES)
        if preface.pool in self._sessions or not same(proof, prove(self._token, b"pool", preface.secret, nonce)):
            raise ProtocolError("the pool does not know the token")
        return prove(self._token, b"key", preface.secret, nonce)

    async def _converse(self, pool: bytes, key: bytes, connection: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=connection)
        session = self._sessions[pool] = Session(key, writer)
        try:
            await session.converse(reader)
        finally:
            del self._sessions[pool]
            writer.close()


def _start(order: Start, streams: list[socket.socket]) -> WorkerProcess:
    # Raises OSError or ValueError; then no process and no descriptor is left.
    words = [word.replace("{worker_id}", str(order.worker_id)) for word in order.command]
    if words[0] == PYTHON:
        words[0] = sys.executable
    with contextlib.ExitStack() as ends, NO_FORK:
        fds = []
        for stream in streams:
            stream.setblocking(True)
            fds.append(fcntl.fcntl(stream, fcntl.F_DUPFD_CLOEXEC, FIRST_FREE_FD))
            ends.callback(os.close, fds[-1])
        opened: list[int] = []
        lifeline_read, lifeline_write = open_pipe(opened, child_end=0)
        ends.callback(os.close, lifeline_read)
        stdin, stdout, stderr = fds
        told = order.env.get(WIRE_VARIABLE, "")
        ends_of = {0: stdin, 1: stderr if told else stdout, 2: stderr, LIFELINE_FD: lifeline_read}
        if told:  # the worker's stdout is not the wire
            ends_of[WIRE_FD] = stdout
        try:
            env = {**os.environ, **order.env}
            pid = launch(words, env, ends_of, memory_bytes=order.memory_bytes)
            return WorkerProcess(
                order.worker_id, pid, stdin_fd=-1, stdout_fd=-1, stderr_fd=-1, lifeline_fd=lifeline_write
            )
        except BaseException:
            os.close(lifeline_write)
            raise


async def _read_exactly(connection: socket.socket, size: int) -> bytes:
    # Not one byte more: what follows belongs to the worker.
    loop = asyncio.get_running_loop()
    data = b""
    while len(data) < size:
        more = await loop.sock_recv(connection, size - len(data))
        if not more:
            raise EOFError
        data += more
    return data


async def read_message(reader: asyncio.StreamReader) -> AnyMessage:
    """Read the next message. Raises ProtocolError, EOFError at the end, and OSError."""
    length = length_of(await reader.readexactly(LENGTH.size))
    return decode(await reader.readexactly(length))


async def send_beats(writer: asyncio.StreamWriter, silence_s: float) -> None:
    """Send a Beat several times in each `silence_s`, for ever."""
    while True:
        writer.write(encode(Beat()))
        await asyncio.sleep(silence_s / BEATS_PER_SILENCE)


async def serve(agent: Agent, ready: Callable[[], object]) -> None:
    """Serve until this task is cancelled, or the process gets SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(agent.serve())
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, task.cancel)
    ready()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(argv: list[str] | None = None) -> int:
    """Run an agent. Returns the exit status: 2 for a wrong use."""
    parser = argparse.ArgumentParser(prog="python -m poolproof.bridge.remote.agent", description=__doc__.split("\n")[0])
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen at (default: this machine only)")
    parser.add_argument("--port", type=int, default=0, help="the port (default: any free one)")
    parser.add_argument(
        "--token-file", type=Path, help=f"a file with the token (default: the variable {TOKEN_VARIABLE})"
    )
    options = parser.parse_args(argv)
    try:
        token = (
            options.token_file.read_bytes().strip()
            if options.token_file
            else os.environb.get(TOKEN_VARIABLE.encode(), b"")
        )
        agent = Agent(token, host=options.host, port=options.port)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    os.environ.pop(TOKEN_VARIABLE, None)  # a worker does not need it
    host, port = agent.address
    asyncio.run(serve(agent, lambda: _say(f"listening on {host}:{port}")))
    return 0


if __name__ == "__main__":
    sys.exit(main())

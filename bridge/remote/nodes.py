"""The nodes of one pool: a control connection to the agent of each, kept by one thread with an event loop.

Decides only where a worker goes. Nobody waits here for a worker: the loop completes its connections, and its
RemoteWorker gets what the agent reports.

Rules
1. A node that ends its control connection has ended its workers before. A node that is silent for `silence_s` is cut:
   this side sends nothing more, so after another `silence_s` and a margin its agent has ended the workers by rule 2 of
   `agent`; only then do they count as ended. So a session never has two living workers, whatever the network does.
2. A lost node is tried again every `RETRY_S`, at the addresses that `find` returns then.
3. A node that is not connected gets no worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import signal
import socket
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence

from poolproof.bridge.clock import deadline_ns, remaining_s
from poolproof.bridge.errors import ProtocolError, StartFailed
from poolproof.bridge.remote.agent import read_message, send_beats
from poolproof.bridge.remote.protocol import (
    NONCE_BYTES,
    PROOF_BYTES,
    AnyMessage,
    Ended,
    Hello,
    Preface,
    Purpose,
    Signal,
    Start,
    Started,
    encode,
    prove,
    same,
    stream_proof,
)
from poolproof.bridge.remote.worker import RemoteWorker
from poolproof.bridge.safe_text import one_line

Address = tuple[str, int]
RETRY_S = 0.5
CONNECT_S = 5.0
MARGIN_S = 1.0
"""How much longer than an agent a pool waits before it gives up the agent's workers, in seconds."""
POOL_BYTES = 16
logger = logging.getLogger(__name__)
_LIVING: weakref.WeakSet[Nodes] = weakref.WeakSet()


class Node:
    """One agent, as long as its control connection lasts. Only the event loop writes to it."""

    def __init__(self, address: Address, pool: bytes, key: bytes, writer: asyncio.StreamWriter) -> None:
        self.address = address
        self.pool = pool
        self.key = key
        self.writer = writer
        self.workers: dict[int, RemoteWorker] = {}
        self.cut = False
        """Whether nothing more is sent, because the agent is silent."""

    def __str__(self) -> str:
        return f"{self.address[0]}:{self.address[1]}"

    def tell(self, message: AnyMessage) -> None:
        """Send a message to the agent, if the connection is still open."""
        if not self.cut and not self.writer.is_closing():
            self.writer.write(encode(message))


class Nodes:
    """The agents of one pool, `count` of them.

    `find` returns the addresses at which they can be reached now. It may wait, so it runs in a thread of its own, and
    only as long as a node is missing.
    """

    def __init__(
        self,
        pool: str,
        find: Callable[[], Sequence[Address]],
        token: bytes,
        *,
        count: int,
        workers_per_node: int | None,
        strategy: str,
        silence_s: float,
    ) -> None:
        self._pool = pool
        self._find = find
        self._token = token
        self._count = count
        self._most = workers_per_node
        self._packs = strategy == "pack"
        self._silence_s = silence_s
        self._lock = threading.Lock()
        self._nodes: dict[Address, Node] = {}
        self._changed = threading.Condition(self._lock)
        self._failures: dict[Address, str] = {}
        self._closing = False
        self._loop = asyncio.new_event_loop()
        self._main: asyncio.Task[None] | None = None
        self._lost = asyncio.Event()
        self._keepers: dict[Address, asyncio.Task[None]] = {}
        self._thread = threading.Thread(target=self._run, name=f"{pool}-nodes", daemon=True)
        _LIVING.add(self)
        self._thread.start()

    def await_room(self, workers: int, timeout_s: float) -> None:
        """Wait until all agents are connected or have failed, with room for `workers`; at most `timeout_s` seconds.

        Then the pool begins with what is there. Raises StartFailed if that is nothing, with the reason for each.
        """
        deadline = deadline_ns(timeout_s)
        with self._changed:
            while remaining_s(deadline) > 0:
                answered = self._nodes.keys() | self._failures.keys()
                if self._nodes and len(answered) >= self._count and self._room() >= workers:
                    return
                self._changed.wait(remaining_s(deadline))
            if not self._nodes:
                reasons = "; ".join(f"{host}:{port}: {why}" for (host, port), why in self._failures.items())
                raise StartFailed(f"no agent could be reached in {timeout_s:g} s: {reasons or 'none was found'}")
            room = self._room()
        logger.warning(
            "pool %r begins with %d of %d nodes, room for %g", self._pool, len(self._nodes), self._count, room
        )

    def spawn(
        self, worker_id: int, command: Sequence[str], env: Mapping[str, str], *, ping: bytes, memory_bytes: int | None
    ) -> RemoteWorker:
        """Request a worker, and let its first bytes be `ping`. Never waits. Raises StartFailed."""
        with self._lock:
            node = self._choose()
            if node is None:
                what = "has room" if self._nodes else "is connected"
                raise StartFailed(f"worker {worker_id}: no node {what}", worker_id=worker_id)
            try:
                worker = RemoteWorker.connect(
                    worker_id,
                    str(node),
                    node.address,
                    lambda number, signum: self._post(node.tell, Signal(number, signum)),
                )
            except OSError as error:
                message = f"worker {worker_id}: cannot connect to {node}: {error.strerror}"
                raise StartFailed(message, worker_id=worker_id) from error
            node.workers[worker_id] = worker
        order = Start(worker_id, list(command), dict(env), memory_bytes)
        self._post(self._begin, node, worker, order, ping)
        return worker

    def close(self) -> None:
        """End all control connections, and so all workers that still live. Idempotent."""
        with self._lock:
            if self._closing:
                return
            self._closing = True
        self._post(self._stop)
        self._thread.join()

    def close_in_child(self) -> None:
        """Close this copy's descriptors in a forked child, without a word to the agents."""
        # The numbers stay taken, because objects of the event loop will close them.
        nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        for node in self._nodes.values():
            stream = node.writer.get_extra_info("socket")
            if stream is not None and stream.fileno() >= 0:
                os.dup2(nothing, stream.fileno(), inheritable=False)
        os.close(nothing)
        self._closing = True

    def _room(self) -> float:
        return math.inf if self._most is None else self._most * len(self._nodes)

    def _choose(self) -> Node | None:
        free = [n for n in self._nodes.values() if not n.cut and (self._most is None or len(n.workers) < self._most)]
        if not free or self._packs:
            return free[0] if free else None
        return min(free, key=lambda node: len(node.workers))

    def _post(self, call: Callable[..., object], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the connections have ended, and so the workers
            self._loop.call_soon_threadsafe(call, *arguments)

    # The methods below run in the event loop.

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._main = self._loop.create_task(self._keep_all())
            with contextlib.suppress(asyncio.CancelledError):
                self._loop.run_until_complete(self._main)
        except Exception:
            logger.exception("pool %r: internal error in the thread that keeps its nodes", self._pool)
        finally:
            self._loop.close()

    def _stop(self) -> None:
        if self._main is not None:
            self._main.cancel()

    async def _keep_all(self) -> None:
        try:
            while True:
                finding = self._loop.run_in_executor(None, self._find)
                try:
                    addresses = set(await finding)
                except Exception as error:
                    logger.warning("pool %r: its nodes cannot be found: %s", self._pool, one_line(str(error)))
                    addresses = set()
                for address in addresses - self._keepers.keys():
                    self._keepers[address] = self._loop.create_task(self._keep(address))
                for address in self._keepers.keys() - addresses - self._nodes.keys():
                    self._keepers.pop(address).cancel()
                if len(self._nodes) == self._count:
                    await self._lost.wait()
                    self._lost.clear()
                else:
                    await asyncio.sleep(RETRY_S)
        finally:
            for keeper in self._keepers.values():
                keeper.cancel()
            await asyncio.gather(*self._keepers.values(), return_exceptions=True)

    async def _keep(self, address: Address) -> None:
        while True:
            try:
                await self._converse(address)
                reason = "the agent has ended the connection"
            except TimeoutError:
                reason = "the agent does not answer"
            except (OSError, EOFError) as error:
                reason = str(error) or type(error).__name__
            except ProtocolError as error:
                reason = str(error)
            with self._changed:
                self._failures[address] = one_line(reason)
                self._changed.notify_all()
            await asyncio.sleep(RETRY_S)

    async def _converse(self, address: Address) -> None:
        async with asyncio.timeout(CONNECT_S):
            reader, writer = await asyncio.open_connection(*address)
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                node = await self._authenticate(address, reader, writer)
                node.tell(Hello(self._silence_s))
                await read_message(reader)  # from now on the agent knows the streams of this pool
            except BaseException:
                writer.close()
                raise
        beats = asyncio.create_task(send_beats(writer, self._silence_s))
        with self._changed:
            self._nodes[address] = node
            self._failures.pop(address, None)
            self._changed.notify_all()
        why = "has ended its connection"
        try:
            while True:
                async with asyncio.timeout(self._silence_s):
                    message = await read_message(reader)
                self._hear(node, message)
        except TimeoutError:
            beats.cancel()
            await self._outlast(node)
            why = f"did not answer for {self._silence_s:g} s"
        finally:
            beats.cancel()
            self._lose(node, why)
            writer.close()

    async def _authenticate(self, address: Address, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Node:
        pool, nonce = os.urandom(POOL_BYTES), os.urandom(NONCE_BYTES)
        writer.write(Preface(Purpose.CONTROL, pool, 0, nonce).encode())
        theirs = await reader.readexactly(NONCE_BYTES)
        proof = await reader.readexactly(PROOF_BYTES)
        if not same(proof, prove(self._token, b"agent", nonce, theirs)):
            raise ProtocolError("the agent does not know the token")
        writer.write(prove(self._token, b"pool", nonce, theirs))
        return Node(address, pool, prove(self._token, b"key", nonce, theirs), writer)

    async def _outlast(self, node: Node) -> None:
        with self._lock:
            node.cut = True
            workers = list(node.workers.values())
        logger.warning("pool %r: node %s does not answer; its %d workers are given up", self._pool, node, len(workers))
        for worker in workers:
            worker.cut()
        node.writer.transport.abort()  # nothing more reaches the agent, not even what is buffered
        await asyncio.sleep(self._silence_s + MARGIN_S)

    def _lose(self, node: Node, why: str) -> None:
        with self._lock:
            self._nodes.pop(node.address, None)
            workers = list(node.workers.values())
            node.workers.clear()
            node.cut = True
        if workers and not self._closing:
            logger.warning("pool %r: node %s %s; it had %d workers", self._pool, node, why, len(workers))
        self._lost.set()
        for worker in workers:
            worker.has_ended(None, reason=f"was lost with its node {node}, which {why}")

    def _hear(self, node: Node, message: AnyMessage) -> None:
        match message:
            case Started(worker_id=worker_id, pid=pid) if worker_id in node.workers:
                node.workers[worker_id].pid = pid
            case Ended(worker_id=worker_id) if worker_id in node.workers:
                with self._lock:
                    worker = node.workers.pop(worker_id)
                worker.has_ended(message.status, out_of_memory=message.out_of_memory, reason=message.reason)

    def _begin(self, node: Node, worker: RemoteWorker, order: Start, ping: bytes) -> None:
        try:
            node.tell(order)
        except ProtocolError as error:  # too large
            with self._lock:
                node.workers.pop(worker.worker_id, None)
            worker.has_ended(None, reason=f"cannot be requested: {error}")
            return
        for purpose, fd in worker.streams().items():
            proof = stream_proof(node.key, purpose, worker.worker_id)
            first = Preface(purpose, node.pool, worker.worker_id, proof).encode()
            # A descriptor of its own: the worker may be closed while the loop waits.
            with contextlib.suppress(OSError):
                copy = os.dup(fd)
                data = first + (ping if purpose is Purpose.STDIN else b"")
                self._loop.add_writer(copy, self._greet, copy, data, purpose, worker)

    def _greet(self, fd: int, data: bytes, purpose: Purpose, worker: RemoteWorker) -> None:
        # The connection is there, or has failed.
        self._loop.remove_writer(fd)
        try:
            if os.write(fd, data) != len(data):
                raise OSError(0, "the first bytes of a connection were not accepted")
            if purpose is Purpose.STDOUT:
                os.set_blocking(fd, True)
        except OSError as error:
            worker.cut()
            worker.signal(signal.SIGKILL)
            logger.warning("pool %r: no connection for worker %d: %s", self._pool, worker.worker_id, error)
        finally:
            os.close(fd)


def _after_fork_in_child() -> None:
    for nodes in list(_LIVING):
        nodes.close_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)

"""Scripted workers: the far end of the simulated transports, with every fault that a plan may ask for.

A worker reads one request at a time from its stdin, works on it for its service time, executes it and writes the
response. It keeps the state of sessions in a dict of dicts. A worker `by the book` reads and writes the wire with the
standard library only, as a program of another author would.
"""

from __future__ import annotations

import json
import struct
from typing import Any, Protocol

from msgspec import UNSET

from poolproof.bridge.wire.framing import HEADER_BYTES, encode_frame
from poolproof.bridge.wire.messages import decode_request, encode_failure, encode_part, encode_success
from poolproof.harness.simulation.plan import ITEMS, MS
from poolproof.harness.simulation.state import State

LARGEST_REPLY_BYTES = 4096
BAD_KEY = "bad"
"""A key that a worker refuses."""


class FarEnd(Protocol):
    """The part of its transport that a worker uses."""

    def deliver(self, data: bytes) -> None:
        """Write to the worker's stdout."""
        ...

    def on_exit(self) -> None:
        """Tell the pool that the worker has ended."""
        ...

    def make_room(self) -> None:
        """Tell the pool that the worker has read from its stdin."""
        ...


class SimWorker:
    """One worker process. It reads from `stdin` and writes through its transport."""

    def __init__(self, world: State, worker_id: int, start_fault: str) -> None:
        self.world = world
        self.worker_id = worker_id
        self.start_fault = start_fault
        self.transport: FarEnd
        self.stdin = bytearray()
        self.taken = bytearray()
        """The part of a request that the worker has read already."""
        self.reading = False
        self.reads = True
        self.stdin_closed = False
        self.busy = False
        self.hung = False
        self.stubborn = False
        self.alive = True
        self.stranger = False
        self.sessions: dict[str, dict[str, Any]] = {}

    # Input.

    def room(self) -> int:
        """How many bytes fit into the worker's stdin now."""
        return self.world.pipe_bytes - len(self.stdin)

    def receive(self, data: bytes | bytearray | memoryview) -> None:
        """Take bytes that were written to the worker's stdin."""
        self.stdin += data
        if not self.busy:
            self._read_next()

    def close_input(self) -> None:
        """The pool has closed the worker's stdin: the worker exits, unless its fault is to ignore that."""
        self.stdin_closed = True
        if self.alive and not self.stubborn and not self.hung:
            self.world.scheduler.at(self.world.now_ns() + self.world.leave_ns, self.exit, None)

    def _read_next(self) -> None:
        # Reads one whole request, if there is one; reading makes room in the pipe.
        stdin = self.stdin
        if not self.alive or self.hung or not self.reads:
            return
        if self.taken:
            stdin = self.taken + stdin
        if len(stdin) < HEADER_BYTES:
            return
        end = HEADER_BYTES + int.from_bytes(stdin[:HEADER_BYTES], "big")
        if len(stdin) < end:
            if self.stdin and not self.reading:  # the rest does not fit into the pipe: it is read in pieces
                self.reading = True
                self.world.scheduler.at(self.world.now_ns() + MS, self._take_piece, None)
            return
        payload = bytes(stdin[HEADER_BYTES:end])
        self.stdin = stdin[end:]
        self.taken = bytearray()
        self.transport.make_room()
        self.busy = True
        self._begin(payload)

    def _take_piece(self, _: None) -> None:
        self.reading = False
        if self.alive and self.reads and not self.busy:
            self.taken += self.stdin
            self.stdin.clear()
            self.transport.make_room()
            self._read_next()

    def _begin(self, payload: bytes) -> None:
        world = self.world
        try:
            if world.by_the_book:
                told = json.loads(payload)
                request_id, command, args = told["id"], told["command"], told["args"]
                stream, reply_to = told.get("stream", False), told.get("reply_to")
            else:
                request = decode_request(payload)
                request_id, command, args = request.id, request.command, request.args
                stream, reply_to = request.stream is True, None if request.reply_to is UNSET else request.reply_to
        except Exception as error:
            world.note("unreadable", self.worker_id, str(error)[:60])
            self.exit(None)
            return
        nonce = args.get("n", -1)
        session = args.get("session_id")
        world.note("arrive", self.worker_id, request_id, nonce, command, session)
        if request_id == 0:
            self._start(stream)
            return
        op = world.ops.get(nonce // ITEMS) if nonce >= 0 else None
        fault = ""
        service_ns = 0
        if op is not None:
            service_ns = op.service_ms * MS
            if nonce % ITEMS == 0 and op.fault and nonce not in world.injured:
                world.injured.add(nonce)
                fault = op.fault
        if fault in ("die_at_once", "hang", "deaf"):
            self._injure(fault)
            return
        job = (request_id, command, args, nonce, session, stream, reply_to, fault)
        if fault == "die_while":
            world.scheduler.at(world.now_ns() + service_ns // 2, self.exit, None)
        elif service_ns:
            world.scheduler.at(world.now_ns() + service_ns, self._finish, job)
        else:
            world.scheduler.soon(self._finish, job)

    def _injure(self, fault: str) -> None:
        if fault == "die_at_once":
            self.exit(None)
        elif fault == "hang":
            self.hung = True
        else:
            self.reads = False

    # Work.

    def _finish(self, job: tuple[Any, ...]) -> None:
        if not self.alive or self.hung:
            return
        request_id, command, args, nonce, session, stream, reply_to, fault = job
        world = self.world
        failure = ""
        result: Any = None
        try:
            result = self._execute(command, args, nonce, session)
        except ValueError as error:
            failure = str(error)
        world.note("execute", self.worker_id, request_id, nonce, command, session)
        if fault == "die_after":
            self.exit(None)
            return
        if failure:
            payloads: list[bytes | bytearray] = [encode_failure(request_id, failure)]
        elif stream and command == "parts":
            count = args["count"]
            payloads = [encode_part(request_id, [nonce, part], more=True) for part in range(count)]
            payloads.append(encode_part(request_id, None, more=False))
        elif world.by_the_book:
            told = {"timestamp": 1.5, "result": result, "success": True, "id": request_id}
            payloads = [json.dumps(told).encode()]
        else:
            payloads = [encode_success(request_id, result)]
        if fault:
            self._answer_badly(fault, request_id, payloads)
        elif reply_to is not None and len(payloads) == 1:
            self._answer_by_pipe(reply_to, payloads[0])
        else:
            for payload in payloads[:-1]:
                self.transport.deliver(struct.pack(">I", len(payload)) + payload)
            self.transport.deliver(encode_frame(payloads[-1]))
        world.note("answer", self.worker_id, nonce)
        self.busy = False
        if self.stdin:
            world.scheduler.soon(self._go_on, None)

    def _go_on(self, _: None) -> None:
        if not self.busy:
            self._read_next()

    def _execute(self, command: str, args: dict[str, Any], nonce: int, session: str | None) -> Any:  # noqa: ANN401
        if command == "fail":
            raise ValueError("as it was asked")
        if session is None:
            return "ok" if command == "ping" else nonce
        if command == "cleanup_session":
            if self.world.plan.traits["no_cleanup"]:
                raise ValueError("unknown command")
            self.sessions.pop(session, None)
            return "cleaned"
        if command == "snapshot_session":
            return self.sessions.get(session, {})
        if command == "restore_session":
            self.sessions[session] = dict(args["state"])
            return "restored"
        state = self.sessions.setdefault(session, {})
        if args.get("key") == BAD_KEY:
            raise ValueError("no such key")
        if command == "put":
            state[args["key"]] = nonce
        elif command == "append":
            state[args["key"]] = (state.get(args["key"], 0) * 31 + nonce) % 2**40
        elif command == "get":
            return [nonce, dict(state)]
        return nonce

    def _answer_by_pipe(self, number: int, payload: bytes | bytearray) -> None:
        frame = encode_frame(payload)
        if len(frame) > LARGEST_REPLY_BYTES:
            self.world.pipes[number].write(b"\xfe")
            self.transport.deliver(frame)
        else:
            self.world.pipes[number].write(frame)

    def _answer_badly(self, fault: str, request_id: int, payloads: list[bytes | bytearray]) -> None:
        world, transport = self.world, self.transport
        whole = b"".join(encode_frame(payload) for payload in payloads)
        now = world.now_ns()
        if fault == "die_partial":
            transport.deliver(whole[: len(whole) // 2])
            self.exit(None)
        elif fault == "die_answered":
            transport.deliver(whole)
            self.exit(None)
        elif fault == "garbage":
            transport.deliver(encode_frame(b"\x00no json"))
        elif fault == "wrong_id":
            transport.deliver(encode_frame(encode_success(request_id + 1, "not yours")))
        elif fault == "part":
            transport.deliver(encode_frame(encode_part(request_id, "a part", more=True)))
        elif fault == "oversize":
            transport.deliver(b"\xff\xff\xff\xff{}")
        elif fault == "twice":
            transport.deliver(whole + whole)
        elif fault == "split":
            random = world.scheduler.random
            cuts = [int(random() * len(whole)) for _ in range(1 + int(random() * 4))]
            if random() < 0.5:
                cuts.append(1 + int(random() * 3))  # in the middle of the header
            cuts.sort()
            for place, (start, end) in enumerate(zip([0, *cuts], [*cuts, len(whole)], strict=True)):
                if start < end:
                    world.scheduler.at(now + place * MS, transport.deliver, whole[start:end])
        else:
            for place in range(len(whole) - 1):  # trickle: the last byte never comes
                world.scheduler.at(now + place * MS * 40, transport.deliver, whole[place : place + 1])

    # The start, and the end.

    def _start(self, _: bool) -> None:
        # The init ping has arrived.
        world, fault = self.world, self.start_fault
        self.busy = False
        delay_ns = world.start_ns
        if fault in ("exit", "orphan"):
            self.stranger = fault == "orphan"
            world.scheduler.at(world.now_ns() + delay_ns, self.exit, None)
        elif fault == "hang":
            self.hung = True
        else:
            if fault == "slow":
                delay_ns += 40 * MS
            world.scheduler.at(world.now_ns() + delay_ns, self._answer_ping, None)

    def _answer_ping(self, _: None) -> None:
        fault, transport = self.start_fault, self.transport
        if not self.alive:
            return
        if fault == "refuse":
            transport.deliver(encode_frame(encode_failure(0, "not today")))
        elif fault == "garbage":
            transport.deliver(b"Hello, world! I am a banner, and no frame.")
        elif fault == "noise":
            transport.deliver(encode_frame(b"no json") + encode_frame(encode_success(77, "stray")))
            transport.deliver(encode_frame(encode_success(0, "ok")))
        else:
            transport.deliver(encode_frame(encode_success(0, "ok")))

    def exit(self, _: None) -> None:
        """End the process."""
        if self.alive:
            self.alive = False
            self.world.note("exit", self.worker_id)
            self.transport.on_exit()

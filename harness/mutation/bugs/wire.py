"""Bugs in the exchange of frames, which both pools use."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import msgspec

from poolproof.bridge.errors import CallTimeout, ProtocolError, Sent
from poolproof.bridge.processes import handshake as handshakes
from poolproof.bridge.processes.channel import Channel
from poolproof.bridge.processes.handshake import Handshake
from poolproof.bridge.wire.exchange import Steps, check, exchange_all
from poolproof.bridge.wire.framing import HEADER_BYTES
from poolproof.bridge.wire.messages import INIT_ID, Response, decode_response, encode_request
from poolproof.harness.mutation.mutant import BOTH, V2, Registry
from poolproof.harness.mutation.planting import mark_entered, replace, replace_everywhere
from poolproof.pool_v2.aio.io import TaskIo
from poolproof.pool_v2.calls.handoff import hand_over
from poolproof.pool_v2.calls.transfer import use
from poolproof.pool_v2.core.ticket import Ticket
from poolproof.pool_v2.running.runtime import Runtime

LOOK_S = 0.001
"""How many seconds a task waits before it tries a busy lock again."""
REGISTRY = Registry()


@REGISTRY.bug(*BOTH, breaks=("G25",), scenarios=("few_calls",), fix="unframed write")
def unframed_write() -> None:
    """A request is written without its length prefix."""

    def without_header(encode: Any) -> Any:
        def frame(request_id: int, *args: Any, **rest: Any) -> bytearray:
            whole: bytearray = encode(request_id, *args, **rest)
            return whole if request_id == INIT_ID else whole[HEADER_BYTES:]

        return frame

    replace_everywhere(encode_request, without_header)


@REGISTRY.bug(*BOTH, breaks=("G1",), scenarios=("any_json",), fix="double unwrapping")
def double_unwrapping() -> None:
    """A result that has a field `result` is unwrapped again."""
    _change_result(lambda value: value["result"] if isinstance(value, dict) and "result" in value else value)


@REGISTRY.bug(*BOTH, breaks=("G1",), scenarios=("any_json",))
def objects_only() -> None:
    """A result that is not a JSON object is replaced by an empty object."""
    _change_result(lambda value: value if isinstance(value, dict) else {})


@REGISTRY.bug(*BOTH, breaks=("G13", "G25"), scenarios=("stray_call",), fix="init not filtered")
def init_not_filtered() -> None:
    """A starting worker fails if its first frame is not the answer to its init ping."""

    decode = decode_response
    module = vars(handshakes)

    def strict(advance: Any) -> Any:
        def first_must_fit(self: Handshake) -> bool:
            def decode_own(payload: bytes) -> Response:
                response = decode(payload)
                if response.id != INIT_ID:
                    raise self.failed("sent another response than the one to its init ping")
                return response

            module["decode_response"] = decode_own
            try:
                done: bool = advance(self)
                return done
            finally:
                module["decode_response"] = decode

        return first_must_fit

    replace(Handshake, "advance", strict)


@REGISTRY.bug(*BOTH, breaks=("G13", "G25"), scenarios=("stray_call",))
def any_frame_is_init() -> None:
    """The first frame of a starting worker is accepted as the answer to its init ping, whatever it is."""

    def careless(advance: Any) -> Any:
        def first_counts(self: Handshake) -> bool:
            advance(self)
            self.done = True
            return True

        return first_counts

    replace(Handshake, "advance", careless)


@REGISTRY.bug(*BOTH, breaks=("G1", "G25"), scenarios=("broken_stream",))
def id_not_checked() -> None:
    """The next response is accepted for a request without a check of its id."""

    def trusting(check: Any) -> Any:
        def take_any(payload: bytes | bytearray, request_id: int, parts: bool = False, memory: Any = None) -> Response:
            try:
                response = decode_response(payload, memory)
            except ProtocolError:
                return check(payload, request_id, parts, memory)  # type: ignore[no-any-return] # which says what is wrong
            return msgspec.structs.replace(response, id=request_id)

        return take_any

    replace_everywhere(check, trusting)


@REGISTRY.bug(*BOTH, breaks=("G1", "G3"), scenarios=("any_json",))
def numbers_as_floats() -> None:
    """The codec makes every number a float."""

    def widen(value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | list | dict):
            return value
        if isinstance(value, int):
            return float(value) + 0.5
        if isinstance(value, list):
            return [widen(item) for item in value]
        return {key: widen(item) for key, item in value.items()}

    _change_result(widen)


@REGISTRY.bug(*BOTH, breaks=("G3",), scenarios=("command_errors",))
def errors_as_results() -> None:
    """A command's error is returned as if it were its result."""

    _change_response(lambda r: r if r.success else Response(r.id, True, r.error, more=r.more))


@REGISTRY.bug(V2, breaks=("G4",), scenarios=("worker_crash",))
def resent_after_crash() -> None:
    """A call whose worker died is reported as not sent, so it is sent again."""

    def lying(crashed: Any) -> Any:
        def never_sent(self: Channel, what: str, *, sent: Sent = Sent.YES, **rest: Any) -> Any:
            return crashed(self, what, sent=Sent.NO, **rest)

        return never_sent

    replace(Channel, "crashed", lying)


@REGISTRY.bug(V2, breaks=("G10",), scenarios=("blocked_manager", "parallel_calls"), fix="I/O in the manager")
def io_under_one_lock() -> None:
    """All calls and batches of the pool are exchanged under one lock."""
    lock = threading.Lock()

    def serial(exchange: Any) -> Any:
        def one_at_a_time(*args: Any, **rest: Any) -> Steps[Any]:
            tasks = any(isinstance(arg, TaskIo) for arg in args)
            while not lock.acquire(blocking=not tasks):
                yield from asyncio.sleep(LOOK_S).__await__()
            try:
                return (yield from exchange(*args, **rest))
            finally:
                lock.release()

        return one_at_a_time

    replace_everywhere(use, serial)
    replace_everywhere(exchange_all, serial)
    replace_everywhere(hand_over, lambda _: lambda ticket, log: ticket.wake(), counted=False)  # it would write at once


@REGISTRY.bug(V2, breaks=("G5", "G12"), scenarios=("dirty_worker",))
def dirty_worker_kept() -> None:
    """A worker whose call timed out becomes idle again, with its answer still to come."""
    _forgive(CallTimeout)


@REGISTRY.bug(V2, breaks=("G1", "G5"), scenarios=("dirty_worker",))
def stale_answer_taken() -> None:
    """A worker whose call timed out is kept, and its late answer is given to the next call."""
    id_not_checked()
    _forgive(CallTimeout)


@REGISTRY.bug(V2, breaks=("G24",), scenarios=("interrupted_client",))
def interrupted_worker_kept() -> None:
    """A worker whose client was interrupted in the middle of an exchange becomes idle again."""
    _forgive(KeyboardInterrupt, asyncio.CancelledError)


def _forgive(*errors: type[BaseException]) -> None:
    # After one of these errors the worker is checked in as clean. At the deadline its client is woken and the worker is
    # not killed.
    def waking(_: Any) -> Any:
        def wake(self: Channel) -> None:
            self.overdue = True
            self.wake_reader()

        return wake

    def forgiving(give_back: Any) -> Any:
        def forget(self: Runtime, ticket: Ticket, error: BaseException | None, reason: str) -> None:
            if isinstance(error, errors) and ticket.worker is not None:
                mark_entered()
                transport: Any = ticket.worker.transport
                transport.dirty = transport.overdue = transport.abandoned = False
                ticket.worker.overdue = ticket.worker.killed = False
                ticket.claim = None
            give_back(self, ticket, error, reason)

        return forget

    if CallTimeout in errors:
        replace(Channel, "cut_off", waking, counted=False)
    replace(Runtime, "_give_back", forgiving, counted=False)


def _change_result(change: Any) -> None:
    _change_response(lambda response: msgspec.structs.replace(response, result=change(response.result)))


def _change_response(change: Any) -> None:
    def changing(check: Any) -> Any:
        def changed(payload: bytes | bytearray, request_id: int, parts: bool = False, memory: Any = None) -> Response:
            return change(check(payload, request_id, parts, memory))  # type: ignore[no-any-return]

        return changed

    replace_everywhere(check, changing)

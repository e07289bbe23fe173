"""Plants one kind of bug in one way of calling V2: a call, a batch, a stream, the executor or the migrating pool.

Entry point. A bug counts as executed only if a run uses its way of calling.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from poolproof.bridge.wire.exchange import exchange, receive
from poolproof.bridge.wire.framing import HEADER_BYTES
from poolproof.bridge.wire.messages import Response, decode_request, ends_stream
from poolproof.harness.mutation.planting import mark_entered, replace, replace_everywhere
from poolproof.migration.plan import Mode
from poolproof.migration.traffic import Traffic
from poolproof.pool_v2.aio.io import TaskIo
from poolproof.pool_v2.calls import batch, streaming
from poolproof.pool_v2.calls.batch import Batch
from poolproof.pool_v2.calls.streaming import StreamCall
from poolproof.pool_v2.calls.transfer import use
from poolproof.pool_v2.core.worker_table import NEVER_NS
from poolproof.pool_v2.executor.dispatch import Dispatch

LONG_S = 60.0
WRONG, LOST, SWAPPED, DOUBLED, LATE = (
    "wrong_value",
    "lost_answer",
    "swapped_answers",
    "doubled_execution",
    "deadline_not_kept",
)
KINDS = {
    WRONG: ("G1", "an answer is changed to another value"),
    LOST: ("G1", "an answer is lost, and the caller gets None instead"),
    SWAPPED: ("G1", "a call gets the answer of the previous call"),
    DOUBLED: ("G4", "a request is sent twice"),
    LATE: ("G11", "a call is not ended at its deadline"),
}
"""The guarantee that each kind breaks, and its description."""


def changer(kind: str) -> Callable[[Any], Any]:
    """The function that a bug of this kind applies to an answer; the identity for kinds that do not change answers."""
    before: list[Any] = []

    def swap(value: Any) -> Any:
        before.append(value)
        return before.pop(0) if len(before) > 1 else value

    changes: dict[str, Callable[[Any], Any]] = {WRONG: lambda value: {"wrong": value}, LOST: lambda _: None}
    return {**changes, SWAPPED: swap}.get(kind, lambda value: value)


def changed(response: Response, change: Callable[[Any], Any]) -> Response:
    """The response with its result changed; unchanged if it has no result."""
    if not response.success or response.result is msgspec.UNSET:
        return response
    return msgspec.structs.replace(response, result=change(response.result))


def in_call(kind: str, *, module: Any = None, where: Callable[..., bool], after: Callable[..., bool] = bool) -> None:
    """Plant the bug at the exchange of single calls, where `where(runtime, io, ticket)` and `after(response)` hold.

    `module` is the one module of V2 whose calls have the bug; None: all modules.
    """
    change = changer(kind)

    def making(use: Any) -> Any:
        def bad(runtime: Any, io: Any, ticket: Any, number: int, frame: bytearray, deadline: int) -> Any:
            here = where(runtime, io, ticket)
            if here and kind == LATE:
                mark_entered()
                ticket.deadline_ns = deadline = NEVER_NS
            response = yield from use(runtime, io, ticket, number, frame, deadline)
            if not here or kind == LATE or not after(response):
                return response
            mark_entered()
            if kind == DOUBLED:
                response = yield from exchange(io, ticket.worker.transport, number, frame, deadline)
            return changed(response, change)

        return bad

    if module is None:
        replace_everywhere(use, making, counted=False)
    else:
        replace(module, "use", making, counted=False)


def in_batch(kind: str, *, tasks: bool) -> None:
    """Plant the bug at the exchange of a batch: of batches of tasks if `tasks`, else of batches of threads."""
    change = changer(kind)

    def making(exchange_all: Any) -> Any:
        def bad(io: Any, transport: Any, requests: Any, deadline_ns: int, *, on_sent: Any, on_answer: Any) -> Any:
            if isinstance(io, TaskIo) is not tasks:
                yield from exchange_all(io, transport, requests, deadline_ns, on_sent=on_sent, on_answer=on_answer)
                return
            mark_entered()

            def answer(number: int, response: Response) -> None:
                on_answer(number, changed(response, change))

            yield from exchange_all(io, transport, requests, deadline_ns, on_sent=on_sent, on_answer=answer)
            if kind == DOUBLED:
                number, frame = requests[0]
                yield from exchange(io, transport, number, frame, deadline_ns)

        return bad

    if kind == LATE:
        replace(Batch, "run", lambda run: without_deadline(run, tasks=tasks), counted=False)
    else:
        replace(batch, "exchange_all", making, counted=False)


def without_deadline(run: Any, *, tasks: bool) -> Any:
    """Wrap `Batch.run` so that it ignores its deadline, for tasks or for threads."""

    def late(self: Batch, io: Any, command: str, items: Any, session_id: Any, deadline: int, until: int) -> Any:
        if isinstance(io, TaskIo) is tasks:
            mark_entered()
            deadline = NEVER_NS
        return run(self, io, command, items, session_id, deadline, until)

    return late


def in_stream(kind: str, *, tasks: bool) -> None:
    """Plant the bug at the parts of a stream: of streams of tasks if `tasks`, else of streams of threads."""
    change = changer(kind)

    def reading(receive: Any) -> Any:
        def bad(io: Any, *args: Any, **rest: Any) -> Any:
            response = yield from receive(io, *args, **rest)
            if isinstance(io, TaskIo) is not tasks:
                return response
            mark_entered()
            return changed(response, change)

        return bad

    def sending(send: Any) -> Any:
        def twice(io: Any, transport: Any, frame: bytearray, deadline_ns: int, ahead: int = 0) -> Any:
            if isinstance(io, TaskIo) is tasks:
                mark_entered()
                yield from send(io, transport, frame, deadline_ns, ahead)
                number, ended = decode_request(bytes(frame[HEADER_BYTES:])).id, False
                while not ended:
                    ended = ends_stream((yield from receive(io, transport, number, deadline_ns, parts=True)))
            yield from send(io, transport, frame, deadline_ns, ahead)

        return twice

    def begin_late(begin: Any) -> Any:
        def late(self: StreamCall, deadline: int, until: int) -> Any:
            if isinstance(self._io, TaskIo) is tasks:
                mark_entered()
                deadline = NEVER_NS
            return begin(self, deadline, until)

        return late

    if kind == DOUBLED:
        replace(streaming, "send", sending, counted=False)
    elif kind == LATE:
        replace(StreamCall, "begin", begin_late, counted=False)
    else:
        replace(streaming, "receive", reading, counted=False)


def in_executor(kind: str) -> None:
    """Plant the bug in PoolExecutor, where one of its threads runs a callable."""
    change = changer(kind)

    def making(run: Any) -> Any:
        def bad(self: Dispatch, call: Any, timeout_s: float | None, future: Any) -> Any:
            if kind == DOUBLED:
                run(self, call, timeout_s, future)
            value, error = run(self, call, LONG_S if kind == LATE else timeout_s, future)
            return (value if error is not None else change(value)), error

        return bad

    replace(Dispatch, "_run", making)


def in_migration(kind: str, *, mode: Mode) -> None:
    """Plant the bug in MigratingPool, active in the given mode only."""
    change = changer(kind)

    def making(on: Any) -> Any:
        def bad(
            self: Traffic,
            step: Any,
            side: Any,
            command: str,
            args: Any,
            session_id: str | None,
            timeout_s: float | None,
            checkout_timeout_s: float | None,
        ) -> Any:
            if step.position.mode is not mode:
                return on(self, step, side, command, args, session_id, timeout_s, checkout_timeout_s)
            mark_entered()
            if kind == DOUBLED:
                on(self, step, side, command, args, session_id, timeout_s, checkout_timeout_s)
            timeout_s = LONG_S if kind == LATE else timeout_s
            return change(on(self, step, side, command, args, session_id, timeout_s, checkout_timeout_s))

        return bad

    replace(Traffic, "_on", making, counted=False)

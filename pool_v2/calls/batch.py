"""Many calls of one command on one worker, pipelined: each request is sent before the previous response has arrived.

So the waiting time between worker and client occurs once per batch instead of once per call. In a session, whose
changes are recorded call by call, the calls run one after another on the worker without pipelining.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from poolproof.bridge import CommandError, EventKind, InvalidRequest, PoolError, Sent
from poolproof.bridge.wire.exchange import Steps, exchange_all
from poolproof.bridge.wire.messages import Response, encode_request, session_args
from poolproof.pool_v2.calls.handover import Handover, as_change
from poolproof.pool_v2.calls.io import ClientIo
from poolproof.pool_v2.calls.lease import Lease
from poolproof.pool_v2.calls.leases import Leases
from poolproof.pool_v2.calls.transfer import abandon
from poolproof.pool_v2.core.accounts import IN_FLIGHT
from poolproof.pool_v2.core.sessions import Session
from poolproof.pool_v2.core.worker_table import Worker
from poolproof.pool_v2.running.abandoned import Record
from poolproof.pool_v2.running.runtime import Runtime

Request = tuple[int, bytearray]


class Round:
    """The calls of one batch, from encoding to their outcomes. Used by one client.

    The owner of the round enters `in_flight` in the pool's accounts before the calls and `counts` after them. `left`
    has the requests that were sent completely.
    """

    def __init__(self, runtime: Runtime, command: str, items: Sequence[dict[str, Any]], session_id: str | None) -> None:
        """Encode the requests. Raises InvalidRequest for an invalid item; then no call is counted."""
        self._runtime = runtime
        self.command = command
        self.requests = [_encode(runtime, command, index, item, session_id) for index, item in enumerate(items)]
        self.in_flight = dict.fromkeys((number for number, _ in self.requests), IN_FLIGHT)
        self.counts = dict.fromkeys(self.in_flight, "Cancelled")
        self._found: dict[int, Any] = {}
        self.left: set[int] = set()

    def settled(self) -> None:
        """Set the outcome of each call in `counts`. Without this, all calls count as cancelled."""
        self.counts = {number: _outcome(self._found[number]) for number, _ in self.requests}

    def enqueued(self) -> None:
        """Report to the observer that all calls wait for a worker now."""
        if self._runtime.log is not None:
            for number, _ in self.requests:
                self._runtime.log.enqueued(number)

    def tell_done(self) -> None:
        """Report the outcome of each call to the observer."""
        for number, outcome in self.counts.items():
            self._runtime.tell_done(number, outcome)

    def sent(self, number: int, worker: Worker) -> None:
        """Record that the last byte of this request was sent to the worker."""
        self.left.add(number)
        if self._runtime.log is not None:
            self._runtime.log.note(EventKind.SEND, number, worker.worker_id, worker.transport.pid)

    def received(self, number: int, response: Response, worker: Worker) -> None:
        """Record that the worker's response to this request was received."""
        if self._runtime.log is not None:
            self._runtime.log.note(EventKind.RECEIVE, number, worker.worker_id, worker.transport.pid)
        self.answered(number, response)

    def answered(self, number: int, response: Response) -> None:
        """Set the response of this request."""
        self._found[number] = response.result if response.success else CommandError(str(response.error))

    def served_by(self, worker: Worker) -> None:
        """Count each request that was sent towards this worker's request limit; the checkin that follows counts one."""
        worker.served += len(self.left) - 1

    def may_go_elsewhere(self, error: PoolError, until: int) -> bool:
        """Return whether the whole batch can be tried on another worker: nothing was sent."""
        return not self._found and not self.left and self._runtime.may_go_elsewhere(error, until)

    def due(self) -> list[int]:
        """Return the requests that were sent completely and not answered, in their order."""
        return [number for number, _ in self.requests if number in self.left and number not in self._found]

    def failed(self, error: PoolError) -> None:
        """Set an error for each unanswered request. Each request has its own error, which says whether it was sent."""
        told = self._runtime.told(error)
        reached = told.sent if told.sent is Sent.NO else Sent.MAYBE  # for the request that was partly sent
        for number, _ in self.requests:
            if number not in self._found:
                self._found[number] = _for_one(told, Sent.YES if number in self.left else reached)
                reached = reached if number in self.left else Sent.NO

    def outcomes(self) -> list[Any]:
        """Return, for each item, its result or its PoolError."""
        return [self._found[number] for number, _ in self.requests]


class Batch:
    """Runs batches. Every method may be used in any thread, and on any loop."""

    def __init__(self, runtime: Runtime, leases: Leases, handover: Handover) -> None:
        self._runtime = runtime
        self._leases = leases
        self._handover = handover

    def run(
        self,
        io: ClientIo,
        command: str,
        items: Sequence[dict[str, Any]],
        session_id: str | None,
        deadline: int,
        until: int,
    ) -> Steps[list[Any]]:
        """Run a batch. Returns, for each item, its result or its PoolError. Times are absolute, in nanoseconds.

        Each item is one call with one outcome. If the worker ends, each unanswered item gets an error that says whether
        it was sent. Raises InvalidRequest for an invalid item, before anything is sent.
        """
        batch = Round(self._runtime, command, items, session_id)
        if not batch.requests:
            return []
        counted, failure = self._runtime.accounts.calls, None
        try:
            counted.update(batch.in_flight)
            batch.enqueued()
            yield from self._run(io, batch, session_id, deadline, until)
            batch.settled()
        except BaseException as error:
            failure = type(error)
            raise
        finally:
            try:
                batch.tell_done()
            finally:
                counted.update(batch.counts)  # an atomic step: an interrupt may come during any function call
            self._runtime.tidy(failure)
        return batch.outcomes()

    def _run(self, io: ClientIo, batch: Round, session_id: str | None, deadline: int, until: int) -> Steps[None]:
        runtime, first = self._runtime, batch.requests[0][0]
        session: Session | None = None
        failure: type[BaseException] | None = None
        again = False
        try:
            if session_id is not None:
                with runtime.lock:
                    session = runtime.coordinator.sessions.begin(session_id, first)
            while True:
                try:
                    lease = yield from self._leases.open(
                        io, first, batch.command, session, deadline, until, again=again, for_one_call=True
                    )
                    yield from self._exchange(io, batch, lease, deadline)
                    return
                except PoolError as error:
                    if not batch.may_go_elsewhere(error, until):
                        batch.failed(error)
                        return
                    again = True
        except BaseException as error:
            failure = type(error)
            raise
        finally:
            if session is not None:
                runtime.release_session(first, session, failure)

    def _exchange(self, io: ClientIo, batch: Round, lease: Lease, deadline: int) -> Steps[None]:
        runtime, ticket = self._runtime, lease.require_ticket()
        worker = ticket.worker
        record: Record | None = None
        begun = 0
        try:
            assert worker is not None
            if ticket.session is None:
                yield from exchange_all(
                    io,
                    worker.transport,
                    batch.requests,
                    deadline,
                    on_sent=lambda number: batch.sent(number, worker),
                    on_answer=lambda number, response: batch.received(number, response, worker),
                )
            else:
                for number, frame in batch.requests:
                    change = as_change(batch.command, frame) if batch.command in runtime.config.state_commands else None
                    record = self._handover.remember_abandoned(ticket, batch.command, change, len(frame))
                    begun = number
                    try:
                        response = yield from self._handover.use(
                            io, ticket, number, frame, batch.command, change, deadline
                        )
                    except PoolError as error:
                        if error.sent is Sent.YES:
                            batch.left.add(number)
                        raise
                    batch.left.add(number)
                    batch.answered(number, response)
            batch.served_by(worker)
        except BaseException as error:
            due = batch.due() if record is None else [begun]
            outlives = worker is not None and ticket.outlives(error)
            if worker is not None and outlives:
                batch.left.update(due)
                batch.served_by(worker)
            if outlives and abandon(runtime, ticket, due, record=record):
                lease.let_go()
            else:
                lease.end(error)
            raise
        else:
            lease.end()


def require_all(found: list[Any]) -> list[Any]:
    """Return the results. If there is an error among them, raises the first one, with the number of its item."""
    for index, value in enumerate(found):
        if isinstance(value, PoolError):
            error = _for_one(value, value.sent)
            error.message = f"item {index} of {len(found)}: {value.message}"
            try:
                raise error
            finally:
                del error  # otherwise the error's traceback would keep a reference to the error
    return found


def _outcome(found: Any) -> str:  # noqa: ANN401 - a result is any JSON value
    return type(found).__name__ if isinstance(found, PoolError) else "result"


def _for_one(error: PoolError, sent: Sent) -> PoolError:
    own = copy.copy(error)
    own.sent = sent
    return own


def _encode(runtime: Runtime, command: str, index: int, item: dict[str, Any], session_id: str | None) -> Request:
    number = next(runtime.ids)
    try:
        args = item if session_id is None else session_args(item, session_id)
        return number, encode_request(
            number,
            command,
            args,
            limit_bytes=runtime.limit_bytes,
            inline=True,  # the next request may be written before this one's result is read
            takes_buffers=runtime.abilities.takes_buffers,
        )
    except InvalidRequest as error:
        raise InvalidRequest(f"item {index}: {error.message}") from error

"""Many calls of one command on one worker: each request is sent before the answer to the one before it is there.

What a worker and its client wait for each other is paid once in place of once a call. In a session, whose changes are
kept call by call, the calls follow each other on the one worker without being sent ahead.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from bridge import CommandError, EventKind, InvalidRequest, PoolError, Sent
from bridge.clock import now_ns
from bridge.conversation import Conversation
from bridge.messages import Response, encode_request, session_args
from pool_v2.accounts import IN_FLIGHT
from pool_v2.handover import as_change
from pool_v2.roster import Worker
from pool_v2.sessions import Session

if TYPE_CHECKING:
    from pool_v2.engine import Engine

Request = tuple[int, bytearray]


class Round:
    """The calls of one batch, from before they are sent to their outcomes. For one client.

    `in_flight` and `counts` are what its maker enters in the pool's accounts, before and after.
    """

    def __init__(self, engine: Engine, command: str, items: Sequence[dict[str, Any]], session_id: str | None) -> None:
        """Raises InvalidRequest for an item that is no request; nothing is counted then."""
        self._engine = engine
        self.command = command
        self.requests = [_encode(engine, command, index, item, session_id) for index, item in enumerate(items)]
        self.in_flight = dict.fromkeys((number for number, _ in self.requests), IN_FLIGHT)
        self.counts = dict.fromkeys(self.in_flight, "Cancelled")
        self._found: dict[int, Any] = {}
        self._sent: set[int] = set()

    def settled(self) -> None:
        """Each call has its outcome; one that this was not said of is counted as cancelled."""
        self.counts = {number: _outcome(self._found[number]) for number, _ in self.requests}

    def ended(self, *, dropped: bool) -> None:
        """The outcomes are among the pool's accounts. `dropped`: perhaps in the garbage collector, see aio_calls."""
        for number, outcome in self.counts.items():
            if dropped:
                self._engine.housekeeper.dropped.append(partial(self._engine.after_call, number, outcome))
            else:
                self._engine.after_call(number, outcome)

    def enqueued(self) -> None:
        """All of them ask for a worker now."""
        for number, _ in self.requests:
            self._engine.supervisor.emit(EventKind.ENQUEUE, call=number)

    def teller(self, worker: Worker) -> Callable[[int], None]:
        """What is to be called with the number of each request that this worker was sent."""
        worker_id, pid = worker.worker_id, worker.door.pid

        def tell(number: int) -> None:
            self._sent.add(number)
            self._engine.supervisor.emit(EventKind.SEND, call=number, worker=worker_id, pid=pid)

        return tell

    def answered(self, number: int, response: Response, worker: Worker) -> None:
        """The response to this request has come."""
        self._engine.supervisor.emit(EventKind.RECEIVE, call=number, worker=worker.worker_id, pid=worker.door.pid)
        self._found[number] = response.result if response.success else CommandError(str(response.error))

    def may_go_elsewhere(self, error: PoolError, patience: int) -> bool:
        """Whether all of it can be tried on another worker: nothing of it was sent."""
        return not self._found and not self._sent and self._engine.may_go_elsewhere(error, patience)

    def failed(self, error: PoolError) -> None:
        """What has no answer will have none. Each has its own error, that says whether it was sent."""
        told = self._engine.told(error)
        reached = told.sent if told.sent is Sent.NO else Sent.MAYBE  # for the one that was on its way
        for number, _ in self.requests:
            if number not in self._found:
                self._found[number] = _for_one(told, Sent.YES if number in self._sent else reached)
                reached = reached if number in self._sent else Sent.NO

    def outcomes(self) -> list[Any]:
        """For each item its result, or the PoolError that it came to."""
        return [self._found[number] for number, _ in self.requests]


class Batch:
    """Runs the batches of threads. Every method may be called from any thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def run(
        self, command: str, items: Sequence[dict[str, Any]], session_id: str | None, deadline: int, patience: int
    ) -> list[Any]:
        """For each item its result, or the PoolError that it came to; the times are absolute, in nanoseconds.

        Each item is one call, with one outcome. If the worker ends, what it had not answered has its error, which says
        whether it was sent. Raises InvalidRequest, before anything is sent, for an item that is no request.
        """
        batch = Round(self._engine, command, items, session_id)
        if not batch.requests:
            return []
        counted = self._engine.accounts.calls
        try:
            counted.update(batch.in_flight)
            batch.enqueued()
            self._run(batch, session_id, deadline, patience)
            batch.settled()
        finally:
            counted.update(batch.counts)  # at once: an interrupt may come into any call
            batch.ended(dropped=False)
        return batch.outcomes()

    def _run(self, batch: Round, session_id: str | None, deadline: int, patience: int) -> None:
        engine = self._engine
        session: Session | None = None
        again = False
        first = batch.requests[0][0]
        try:
            if session_id is not None:
                with engine.lock:
                    session = engine.coordinator.sessions.begin(session_id, first)
            while True:
                try:
                    with engine.leases.open(first, batch.command, session, deadline, patience, again=again) as lease:
                        worker = lease.require_ticket().worker
                        assert worker is not None
                        for number, response in self._answers(batch, session, worker, deadline):
                            batch.answered(number, response, worker)
                    return
                except PoolError as error:
                    if not batch.may_go_elsewhere(error, patience):
                        batch.failed(error)
                        return
                    again = True
        finally:
            if session is not None:
                with engine.lock:
                    engine.coordinator.sessions.release(session, first, now_ns())

    def _answers(
        self, batch: Round, session: Session | None, worker: Worker, deadline: int
    ) -> Iterator[tuple[int, Response]]:
        engine, command = self._engine, batch.command
        tell = batch.teller(worker)
        if session is None:
            conversation = Conversation(worker.door, deadline_ns=deadline)
            answers = conversation.exchange_all(batch.requests, on_sent=tell)
            for (number, _), response in zip(batch.requests, answers, strict=True):
                yield number, response
            return
        engine.sessions.drive(engine.sessions.hand_over(session, worker), worker.door, deadline)
        for number, frame in batch.requests:
            change = as_change(command, frame) if command in engine.config.state_commands else None
            response = worker.door.exchange(number, frame, deadline_ns=deadline, on_sent=partial(tell, number))
            steps = engine.sessions.remember(session, worker, command, response, change, len(frame))
            engine.sessions.drive(steps, worker.door, deadline)
            yield number, response


def require_all(found: list[Any]) -> list[Any]:
    """The results; raises the first error that is among them, with the number of its item."""
    for index, value in enumerate(found):
        if isinstance(value, PoolError):
            value.message = f"item {index} of {len(found)}: {value.message}"
            raise value
    return found


def _outcome(found: Any) -> str:  # noqa: ANN401 - a result is any JSON value
    return type(found).__name__ if isinstance(found, PoolError) else "result"


def _for_one(error: PoolError, sent: Sent) -> PoolError:
    own = copy.copy(error)
    own.sent = sent
    return own


def _encode(engine: Engine, command: str, index: int, item: dict[str, Any], session_id: str | None) -> Request:
    number = next(engine.ids)
    try:
        args = item if session_id is None else session_args(item, session_id)
        return number, encode_request(number, command, args, limit_bytes=engine.limit_bytes)
    except InvalidRequest as error:
        raise InvalidRequest(f"item {index}: {error.message}") from error

"""Many calls of one command on one worker: each request is sent before the answer to the one before it is there.

What a worker and its client wait for each other is paid once in place of once a call. In a session, whose changes are
kept call by call, the calls follow each other on the one worker without being sent ahead.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from bridge import CommandError, EventKind, InvalidRequest, PoolError, Sent
from bridge.clock import now_ns
from bridge.conversation import Conversation
from bridge.messages import Response, encode_request
from pool_v2.accounts import IN_FLIGHT
from pool_v2.handover import as_change
from pool_v2.roster import Worker
from pool_v2.sessions import Session

if TYPE_CHECKING:
    from pool_v2.engine import Engine

Request = tuple[int, bytearray]


class Batch:
    """Runs batches. Every method may be called from any thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def run(
        self, command: str, items: Sequence[dict[str, Any]], session_id: str | None, deadline: int, patience: int
    ) -> list[Any]:
        """For each item its result, or the PoolError that it came to; the times are absolute, in nanoseconds.

        Each item is one call, with one outcome. If the worker ends, what it had not answered has its error, which says
        whether it was sent. Raises InvalidRequest, before anything is sent, for an item that is no request.
        """
        engine = self._engine
        requests = [_encode(engine, command, index, item, session_id) for index, item in enumerate(items)]
        found: dict[int, Any] = {}
        outcomes = dict.fromkeys((number for number, _ in requests), "Cancelled")
        if not requests:
            return []
        engine.accounts.calls.update(dict.fromkeys((number for number, _ in requests), IN_FLIGHT))
        try:
            for number, _ in requests:
                engine.supervisor.emit(EventKind.ENQUEUE, call=number)
            self._run(command, requests, session_id, found, deadline, patience)
            outcomes = {number: _outcome(value) for number, value in found.items()}
        finally:
            engine.accounts.calls.update(outcomes)  # at once: an interrupt may come into any call
            for number, outcome in outcomes.items():
                engine.after_call(number, outcome)
        return [found[number] for number, _ in requests]

    def _run(
        self,
        command: str,
        requests: list[Request],
        session_id: str | None,
        found: dict[int, Any],
        deadline: int,
        patience: int,
    ) -> None:
        # Fills `found`: a value or an error for each number. Only what is no PoolError is raised.
        engine = self._engine
        session: Session | None = None
        sent: set[int] = set()
        again = False
        try:
            if session_id is not None:
                with engine.lock:
                    session = engine.coordinator.sessions.begin(session_id)
            while True:
                try:
                    first = requests[0][0]
                    with engine.leases.open(first, command, session, deadline, patience, again=again) as lease:
                        worker = lease.require_ticket().worker
                        assert worker is not None
                        for number, response in self._answers(command, requests, session, worker, sent, deadline):
                            failed = None if response.success else CommandError(str(response.error))
                            found[number] = response.result if failed is None else failed
                    return
                except PoolError as error:
                    if not found and not sent and engine.may_go_elsewhere(error, patience):
                        again = True
                        continue
                    told = engine.told(error)
                    reached = told.sent if told.sent is Sent.NO else Sent.MAYBE  # for the one that was on its way
                    for number, _ in requests:
                        if number not in found:
                            found[number] = _for_one(told, Sent.YES if number in sent else reached)
                            reached = reached if number in sent else Sent.NO
                    return
        finally:
            if session is not None:
                with engine.lock:
                    engine.coordinator.sessions.release(session, now_ns())

    def _answers(
        self,
        command: str,
        requests: list[Request],
        session: Session | None,
        worker: Worker,
        sent: set[int],
        deadline: int,
    ) -> Iterator[tuple[int, Response]]:
        engine = self._engine
        worker_id, pid = worker.worker_id, worker.door.pid

        def tell(number: int) -> None:
            sent.add(number)
            engine.supervisor.emit(EventKind.SEND, call=number, worker=worker_id, pid=pid)

        if session is None:
            conversation = Conversation(worker.door, deadline_ns=deadline)
            answers = conversation.exchange_all(requests, on_sent=tell)
            for (number, _), response in zip(requests, answers, strict=True):
                engine.supervisor.emit(EventKind.RECEIVE, call=number, worker=worker_id, pid=pid)
                yield number, response
            return
        engine.sessions.drive(engine.sessions.hand_over(session, worker), worker.door, deadline)
        for number, frame in requests:
            change = as_change(command, frame) if command in engine.config.state_commands else None
            response = worker.door.exchange(number, frame, deadline_ns=deadline)
            sent.add(number)
            engine.supervisor.emit(EventKind.RECEIVE, call=number, worker=worker_id, pid=pid)
            steps = engine.sessions.remember(session, worker, command, response, change, len(frame))
            engine.sessions.drive(steps, worker.door, deadline)
            yield number, response


def _outcome(found: Any) -> str:  # noqa: ANN401 - a result is any JSON value
    return type(found).__name__ if isinstance(found, PoolError) else "result"


def _for_one(error: PoolError, sent: Sent) -> PoolError:
    own = copy.copy(error)
    own.sent = sent
    return own


def _encode(engine: Engine, command: str, index: int, item: dict[str, Any], session_id: str | None) -> Request:
    number = next(engine.ids)
    args = item if session_id is None else {**item, "session_id": session_id}
    try:
        return number, encode_request(number, command, args, limit_bytes=engine.limit_bytes)
    except InvalidRequest as error:
        raise InvalidRequest(f"item {index}: {error.message}") from error

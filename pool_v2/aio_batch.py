"""Many calls of one command on one worker, for a task: `pool_v2.batch` with `await`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from bridge import PoolError
from pool_v2.aio_calls import TaskCalls, unwind
from pool_v2.aio_channel import exchange
from pool_v2.aio_conversation import AsyncConversation
from pool_v2.aio_ticket import AsyncTicket
from pool_v2.batch import Round
from pool_v2.handover import as_change
from pool_v2.lease import Lease
from pool_v2.sessions import Session


async def run_batch(
    calls: TaskCalls,
    command: str,
    items: Sequence[dict[str, Any]],
    session_id: str | None,
    deadline: int,
    patience: int,
) -> list[Any]:
    """As Batch.run: for each item its result, or the PoolError that it came to; the times are absolute, in ns."""
    engine = calls.engine
    batch = Round(engine, command, items, session_id)
    if not batch.requests:
        return []
    counted, dropped, first = engine.accounts.calls, False, batch.requests[0][0]
    try:
        counted.update(batch.in_flight)
        batch.enqueued()
        if session_id is None:
            await _run(calls, batch, None, deadline, patience)
        else:
            with engine.lock:
                session = engine.coordinator.sessions.begin(session_id, first)
            try:
                await _run(calls, batch, session, deadline, patience)
            except BaseException as error:
                unwind(engine, error, partial(calls.release, session, first))
                raise
            calls.release(session, first)
        batch.settled()
    except GeneratorExit:
        dropped = True
        raise
    finally:
        counted.update(batch.counts)
        batch.ended(dropped=dropped)
    return batch.outcomes()


async def _run(calls: TaskCalls, batch: Round, session: Session | None, deadline: int, patience: int) -> None:
    again = False
    while True:
        try:
            lease, ticket = await calls.open_lease(
                batch.command, deadline, patience, number=batch.requests[0][0], session=session, again=again
            )
            try:
                await _exchange(calls, batch, session, lease, ticket, deadline)
            except BaseException as error:
                lease.busy = False
                unwind(calls.engine, error, partial(lease.end, error))
                raise
            lease.busy = False
            lease.end()
            return
        except PoolError as error:
            if not batch.may_go_elsewhere(error, patience):
                batch.failed(error)
                return
            again = True


async def _exchange(
    calls: TaskCalls, batch: Round, session: Session | None, lease: Lease, ticket: AsyncTicket, deadline: int
) -> None:
    engine = calls.engine
    with engine.lock:  # `busy` keeps the pool from closing descriptors that the loop watches: see Lease
        worker = ticket.worker
        lease.busy = worker is not None
    if worker is None:
        raise lease.lost()
    tell = batch.teller(worker)
    if session is None:
        conversation = AsyncConversation(ticket.loop, worker.door, deadline_ns=deadline)
        numbers = iter(batch.requests)
        async for response in conversation.exchange_all(batch.requests, on_sent=tell):
            batch.answered(next(numbers)[0], response, worker)
        return
    await calls.drive(engine.sessions.hand_over(session, worker), ticket, deadline)
    for number, frame in batch.requests:
        change = as_change(batch.command, frame) if batch.command in engine.config.state_commands else None
        response = await exchange(
            ticket.loop, worker.door, number, frame, deadline_ns=deadline, on_sent=partial(tell, number)
        )
        await calls.drive(
            engine.sessions.remember(session, worker, batch.command, response, change, len(frame)), ticket, deadline
        )
        batch.answered(number, response, worker)

"""Bugs in how V2 queues calls, lends workers and limits waits. Entry point."""

from __future__ import annotations

import time
from typing import Any

from poolproof.bridge import CallTimeout, CheckoutTimeout, PoolError, WorkerCrashed
from poolproof.bridge.wire.exchange import Io, Steps, receive
from poolproof.bridge.wire.messages import Response
from poolproof.bridge.wire.transport import Transport
from poolproof.harness.mutation.mutant import V2, Registry
from poolproof.harness.mutation.planting import replace, replace_everywhere
from poolproof.pool_v2.calls import transfer
from poolproof.pool_v2.core.actions import Act, Action
from poolproof.pool_v2.core.coordinator import Coordinator
from poolproof.pool_v2.core.grants import Grants
from poolproof.pool_v2.core.ticket import Ticket, TicketState
from poolproof.pool_v2.running.runtime import Runtime

REGISTRY = Registry()
SLEEPY_NS = 400_000_000
LONG_NS = 60_000_000_000
RACE_S = 2.0
RACE_STEP_S = 0.001
"""The first client that gives up waits up to `RACE_S` seconds for a worker to be handed to it at the same moment; it
looks for that every `RACE_STEP_S` seconds.
"""


@REGISTRY.bug(V2, breaks=("G2",), scenarios=("one_holder",))
def leased_twice() -> None:
    """A worker that was checked out also stays idle, so another client can check it out."""

    def keeping(enter: Any) -> Any:
        def keep(self: Coordinator, ticket: Ticket, *args: Any, **rest: Any) -> None:
            enter(self, ticket, *args, **rest)
            if ticket.worker is not None:
                self._idle[ticket.worker.worker_id] = ticket.worker

        return keep

    replace(Coordinator, "enter", keeping)


@REGISTRY.bug(V2, breaks=("G3",), scenarios=("two_timeouts",))
def one_timeout_for_all() -> None:
    """A timeout of the wait for an answer raises CheckoutTimeout, the error of the wait for a worker."""

    def confused(told: Any) -> Any:
        def confuse(self: Runtime, error: PoolError) -> PoolError:
            found: PoolError = told(self, error)
            return CheckoutTimeout(found.message) if isinstance(found, CallTimeout) else found

        return confuse

    replace(Runtime, "told", confused)


@REGISTRY.bug(V2, breaks=("G3",), scenarios=("worker_crash",))
def crash_swallowed() -> None:
    """A call whose worker died returns None, as if None were its result."""

    def swallowing(receive: Any) -> Any:
        def swallow(io: Io, transport: Transport, request_id: int, *args: Any, **rest: Any) -> Steps[Response]:
            try:
                response: Response = yield from receive(io, transport, request_id, *args, **rest)
            except WorkerCrashed:
                return Response(request_id, True, None)
            return response

        return swallow

    replace_everywhere(receive, swallowing)


@REGISTRY.bug(V2, breaks=("G6",), scenarios=("work_conserved",))
def sleepy_hand_off() -> None:
    """A worker that is checked in stays idle until the supervisor's next look, although calls are waiting."""

    def lazy(leave: Any) -> Any:
        def forget(self: Coordinator, ticket: Ticket, *args: Any, **rest: Any) -> list[Ticket]:
            waiting, self._queue = self._queue, {}
            try:
                waiting.pop(ticket.call, None)
                woken: list[Ticket] = leave(self, ticket, *args, **rest)
                return woken
            finally:
                self._queue = waiting

        return forget

    last_ns = [0]
    awake = [False]

    def drowsy(match: Any) -> Any:
        return lambda self: match(self) if awake[0] else []

    def late(plan: Any) -> Any:
        def hand_out(self: Coordinator, now_ns: int) -> list[Action]:
            found: list[Action] = plan(self, now_ns)
            if now_ns - last_ns[0] > SLEEPY_NS:
                last_ns[0] = now_ns
                awake[0] = True
                found += [Action(Act.WAKE, ticket=ticket) for ticket in self._match()]
                awake[0] = False
            return found

        return hand_out

    replace(Coordinator, "leave", lazy)
    replace(Grants, "_match", drowsy)
    replace(Coordinator, "plan", late)


@REGISTRY.bug(V2, breaks=("G7",), scenarios=("arrivals_apart",))
def lifo_queue() -> None:
    """The call that came last is served first."""

    def backwards(leave: Any) -> Any:
        def reverse(self: Coordinator, *args: Any, **rest: Any) -> list[Ticket]:
            self._queue = dict(reversed(self._queue.items()))
            woken: list[Ticket] = leave(self, *args, **rest)
            self._queue = dict(reversed(self._queue.items()))
            return woken

        return reverse

    replace(Coordinator, "leave", backwards)


@REGISTRY.bug(V2, breaks=("G8",), scenarios=("one_by_one",))
def worker_not_given_back() -> None:
    """Some workers are forgotten when they are checked in."""

    def forgetful(leave: Any) -> Any:
        def forget(self: Coordinator, ticket: Ticket, *args: Any, **rest: Any) -> list[Ticket]:
            worker = ticket.worker
            woken: list[Ticket] = leave(self, ticket, *args, **rest)
            if worker is not None and worker.worker_id in self._idle and worker.worker_id % 2:
                del self._idle[worker.worker_id]
            return woken

        return forget

    replace(Coordinator, "leave", forgetful)


@REGISTRY.bug(V2, breaks=("G9",), scenarios=("crossed_hand_off",))
def hand_off_lost() -> None:
    """A worker that is handed to a client at the moment at which the client gives up is lost."""
    gave_up: list[int] = []

    def dropping(settle: Any) -> Any:
        def drop(self: Runtime, ticket: Ticket, label: str) -> None:
            if gave_up or ticket.state is not TicketState.WAITING:
                settle(self, ticket, label)
                return
            gave_up.append(ticket.call)
            for _ in range(int(RACE_S / RACE_STEP_S)):
                if ticket.state is not TicketState.WAITING:
                    break
                time.sleep(RACE_STEP_S)
            with self.lock:
                if ticket.worker is not None:
                    del self.coordinator.held[ticket.worker.worker_id]
                    ticket.state = TicketState.WITHDRAWN
                    ticket.worker = ticket.claim = None
            raise CheckoutTimeout(f"{label!r}: no worker was free in time")

        return drop

    replace(Runtime, "settle", dropping)


@REGISTRY.bug(V2, breaks=("G11",), scenarios=("late_answer",))
def deadline_ignored() -> None:
    """A call that has passed its deadline is not cut off."""

    def blind(plan: Any) -> Any:
        def never_cut_off(self: Coordinator, now_ns: int) -> list[Action]:
            return [order for order in plan(self, now_ns) if order.act is not Act.CUT_OFF]

        return never_cut_off

    replace(Coordinator, "plan", blind)


@REGISTRY.bug(V2, breaks=("G11",), scenarios=("late_worker",))
def queue_without_limit() -> None:
    """The wait for a worker has no limit."""

    def patient(accept: Any) -> Any:
        def wait_on(runtime: Runtime, ticket: Ticket, label: str, until: int) -> None:
            accept(runtime, ticket, label, until + LONG_NS)

        return wait_on

    replace_everywhere(transfer.accept, patient)


@REGISTRY.bug(V2, breaks=("G14",), scenarios=("full_queue",))
def queue_without_bound() -> None:
    """The queue has no limit: `max_queue` is ignored."""

    def boundless(enter: Any) -> Any:
        def let_in(self: Coordinator, *args: Any, **rest: Any) -> None:
            self.max_queue = None
            enter(self, *args, **rest)

        return let_in

    replace(Coordinator, "enter", boundless)

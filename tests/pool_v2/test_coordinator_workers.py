"""The coordinator and its workers, each rule with a literal case: starts, replacement, the circuit, closing."""

from __future__ import annotations

import pytest

from bridge import CircuitOpen, PoolClosed, SessionLost
from bridge.lifecycle import WorkerState
from pool_v2.circuit import Circuit
from pool_v2.coordinator import ATTEND, Bury, Coordinator, Kill, Retire, Wake
from pool_v2.sessions import Session
from pool_v2.ticket import Ticket, TicketState

RESET_NS = 2_000_000_000


def coordinator(*, ready: int = 0, workers: int = 2, failures_to_open: int = 2, **options: object) -> Coordinator:
    """One with `ready` idle workers, numbered from 1."""
    made = Coordinator("p", Circuit(failures_to_open=failures_to_open, reset_s=2.0), workers=workers, **options)
    for worker_id in range(1, ready + 1):
        made.started(worker_id)
        made.ready(worker_id)
    return made


def entered(core: Coordinator, call: int, session: Session | None = None, *, now_ns: int = 0) -> Ticket:
    ticket = Ticket(call, session)
    core.enter(ticket, now_ns)
    return ticket


def accepted(core: Coordinator, call: int, session: Session | None = None) -> Ticket:
    """A ticket that was given an idle worker at once, and whose session was bound to it."""
    ticket = entered(core, call, session)
    assert ticket.state is TicketState.ACCEPTED
    if session is not None and ticket.worker_id is not None:
        session.move(ticket.worker_id)
    return ticket


def states(core: Coordinator) -> dict[int, str]:
    return {worker_id: worker.state.value for worker_id, worker in core.workers.items()}


def start(core: Coordinator, worker_id: int) -> list[object]:
    core.started(worker_id)
    return list(core.ready(worker_id))


def end(core: Coordinator, worker_id: int) -> list[object]:
    """The process ends and is buried."""
    return [*core.exited(worker_id), *core.buried(worker_id)]


# Starting and replacing.


def test_an_eager_pool_wants_all_its_workers_at_once_and_a_lazy_one_none() -> None:
    assert coordinator(workers=3).wanted_starts(0) == 3
    assert coordinator(workers=3, lazy=True).wanted_starts(0) == 0


def test_a_lazy_pool_starts_one_worker_for_each_waiter_that_none_is_starting_for() -> None:
    core = coordinator(workers=3, lazy=True)
    entered(core, 1)
    assert core.wanted_starts(0) == 1
    core.started(1)
    assert core.wanted_starts(0) == 0
    entered(core, 2)
    assert core.wanted_starts(0) == 1


def test_a_lazy_pool_reuses_its_worker_for_calls_one_after_another() -> None:
    core = coordinator(workers=3, lazy=True)
    first = entered(core, 1)
    start(core, 1)
    core.accept(first)
    core.leave(first, clean=True)

    assert accepted(core, 2).worker_id == 1
    assert core.wanted_starts(0) == 0


def test_no_more_workers_are_wanted_than_the_pool_may_have() -> None:
    core = coordinator(ready=2, workers=2, overflow=1)
    for call in range(1, 7):
        entered(core, call)

    assert core.wanted_starts(0) == 1
    core.started(3)
    assert core.wanted_starts(0) == 0


def test_a_worker_above_the_size_leaves_when_nobody_waits() -> None:
    core = coordinator(ready=1, workers=1, overflow=1)
    one = accepted(core, 1)
    two = entered(core, 2)
    start(core, 2)
    core.accept(two)

    assert core.leave(two, clean=True) == [Retire(2)]
    end(core, 2)
    assert core.leave(one, clean=True) == []
    assert states(core) == {1: "idle"}


def test_a_dying_worker_is_no_reason_to_retire_another() -> None:
    core = coordinator(ready=1, workers=1, overflow=1)
    one = accepted(core, 1)
    two = entered(core, 2)
    start(core, 2)
    core.accept(two)
    core.leave(one, clean=False)

    assert core.leave(two, clean=True) == []
    assert states(core) == {1: "dying", 2: "idle"}


def test_a_worker_above_the_size_that_comes_too_late_for_its_waiter_leaves() -> None:
    core = coordinator(ready=1, workers=1, overflow=1)
    accepted(core, 1)
    impatient = entered(core, 2)
    core.started(2)
    core.leave(impatient, clean=True)

    assert list(core.ready(2)) == [Retire(2)]
    assert states(core) == {1: "leased", 2: "dying"}


def test_a_dead_idle_worker_is_buried_and_replaced() -> None:
    core = coordinator(ready=2, workers=2)

    assert core.exited(1) == (Bury(1),)
    assert states(core) == {1: "dying", 2: "idle"}
    assert core.buried(1) == (ATTEND,)
    assert core.wanted_starts(0) == 1


def test_a_dead_leased_worker_is_buried_only_after_its_holder_has_left() -> None:
    core = coordinator(ready=1, workers=1)
    holder = accepted(core, 1)

    assert list(core.exited(1)) == []
    assert core.ready_workers == 0
    assert core.leave(holder, clean=True) == [Bury(1)]
    assert states(core) == {1: "dying"}


def test_only_living_ready_workers_count_as_ready() -> None:
    core = coordinator(ready=2, workers=3)
    core.started(3)
    accepted(core, 1)

    assert core.ready_workers == 2


def test_news_of_a_start_that_was_given_up_changes_nothing() -> None:
    core = coordinator(workers=1)
    core.started(1)
    core.start_failed(1, "mute", 0)

    assert core.ready(1) == ()
    assert core.start_failed(1, "mute", 0) == ()
    assert states(core) == {1: "dying"}


def test_a_worker_moves_only_along_its_table() -> None:
    core = coordinator(ready=1)

    with pytest.raises(ValueError, match="a worker that is idle cannot take the step bury"):
        core.buried(1)


# The circuit.


def test_a_failed_start_backs_off_and_waiters_keep_their_places() -> None:
    core = coordinator(workers=1, failures_to_open=5)
    head = entered(core, 1)
    core.started(1)

    assert list(core.start_failed(1, "mute", 0)) == [Kill(1, "start failed")]
    end(core, 1)
    assert (head.state, core.wanted_starts(0)) == (TicketState.WAITING, 0)
    assert core.wanted_starts(50_000_000) == 1
    assert start(core, 2) == [Wake(head)]


def failed_starts(core: Coordinator, first: int, count: int, *, now_ns: int = 0) -> list[object]:
    effects: list[object] = []
    for worker_id in range(first, first + count):
        core.started(worker_id)
        effects += [*core.start_failed(worker_id, "mute", now_ns), *end(core, worker_id)]
    return effects


def test_an_open_circuit_refuses_who_waits_and_who_comes() -> None:
    core = coordinator(workers=1)
    waiting = entered(core, 1)

    effects = failed_starts(core, 1, 2)

    assert Wake(waiting) in effects
    assert waiting.state is TicketState.REFUSED
    assert isinstance(waiting.error, CircuitOpen)
    assert "mute" in str(waiting.error)
    with pytest.raises(CircuitOpen, match="too many workers failed to start; the last: mute"):
        core.enter(Ticket(2), RESET_NS - 1)


def test_after_its_time_an_open_circuit_lets_a_call_wait_for_the_probe() -> None:
    core = coordinator(workers=3)
    failed_starts(core, 1, 2)
    waiting = entered(core, 1, now_ns=RESET_NS)

    assert core.wanted_starts(RESET_NS) == 1
    assert start(core, 3) == [Wake(waiting)]
    assert core.wanted_starts(RESET_NS) == 2


def test_a_probe_that_fails_refuses_who_waited_for_it() -> None:
    core = coordinator(workers=1)
    failed_starts(core, 1, 2)
    waiting = entered(core, 1, now_ns=RESET_NS)

    assert Wake(waiting) in failed_starts(core, 3, 1, now_ns=RESET_NS)
    with pytest.raises(CircuitOpen):
        core.enter(Ticket(2), RESET_NS)


def test_an_open_circuit_refuses_nobody_while_a_worker_serves() -> None:
    core = coordinator(ready=1, workers=2)
    holder = accepted(core, 1)
    waiting = entered(core, 2)

    assert Wake(waiting) not in failed_starts(core, 2, 2)
    assert entered(core, 3).state is TicketState.WAITING
    assert core.leave(holder, clean=True) == [Wake(waiting)]


# Closing.


def test_closing_refuses_waiters_retires_idle_kills_starting_and_lets_the_leased_go_on() -> None:
    core = coordinator(ready=2, workers=3)
    own = Session("s")
    core.leave(accepted(core, 1, own), clean=True)
    holder = accepted(core, 2)
    core.leave(accepted(core, 3, own), clean=True)
    core.started(3)
    busy = Session("t")
    busy.busy = True
    waiting = entered(core, 4, busy)
    assert states(core) == {1: "idle", 2: "leased", 3: "starting"}

    assert list(core.close()) == [Wake(waiting), Retire(1), Kill(3, "close")]
    assert isinstance(waiting.error, PoolClosed)
    assert (waiting.state, holder.state) == (TicketState.REFUSED, TicketState.ACCEPTED)
    assert core.leave(holder, clean=True) == [Retire(2)]
    assert core.close() == ()


def test_a_closing_pool_retires_its_idle_workers_and_buries_only_once() -> None:
    core = coordinator(ready=2, workers=2)

    assert list(core.close()) == [Retire(1), Retire(2)]
    assert core.exited(1) == (Bury(1),)
    core.buried(1)
    assert states(core) == {2: "dying"}


def test_a_closed_pool_takes_nobody_and_starts_nothing() -> None:
    core = coordinator(workers=2)
    core.close()

    with pytest.raises(PoolClosed, match="pool 'p' is closed"):
        core.enter(Ticket(1), 0)
    assert core.wanted_starts(0) == 0


def test_the_rest_is_killed_leased_workers_included_but_no_dead_ones() -> None:
    core = coordinator(ready=3, workers=3)
    holder = accepted(core, 1)
    accepted(core, 2)
    core.close()
    core.exited(2)

    assert list(core.kill_rest("close")) == [Kill(1, "close"), Kill(3, "close")]
    assert core.workers[1].state is WorkerState.LEASED
    assert core.leave(holder, clean=False) == [Kill(1, "dirty")]


def test_a_session_that_is_lost_is_refused_before_it_takes_a_worker() -> None:
    core = coordinator(ready=1)
    session = Session("s")
    session.lost = "its state went with worker 7"
    ticket = Ticket(1, session)

    with pytest.raises(SessionLost, match="its state went with worker 7"):
        core.enter(ticket, 0)
    assert states(core) == {1: "idle"}
    assert not session.busy

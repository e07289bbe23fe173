"""An interrupt at any step of what clients do under the lock harms nobody else, whatever comes before it is mended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from poolproof.bridge import PoolError
from poolproof.bridge.lifecycle import WorkerState
from poolproof.pool_v2.core.actions import Act, Action
from poolproof.pool_v2.core.coordinator import Coordinator
from poolproof.pool_v2.core.grants import Affinity
from poolproof.pool_v2.core.sessions import Session
from poolproof.pool_v2.core.ticket import Ticket, TicketState

NOW_NS = 5_000_000_000
OWNING = (TicketState.OFFERED, TicketState.ACCEPTED)


class Scene:
    """A pool with some clients, one of whom is interrupted in the midst of a step of his."""

    def __init__(self, desk: Any) -> None:
        self.desk = desk
        self.core: Coordinator = desk.core
        self.torn: Ticket
        self.step: Callable[[], object]
        self.others: list[Ticket] = []
        self.woken: set[int] = set()
        self.told: set[int] = set()
        self.spoilt: set[int] = set()

    def interrupted_in(self, torn: Ticket, step: Callable[[], object]) -> Scene:
        """What will be interrupted."""
        self.torn, self.step = torn, step
        return self

    def wake(self, tickets: list[Ticket]) -> None:
        self.woken.update(ticket.call for ticket in tickets)

    def holders(self) -> dict[int, Ticket]:
        return dict(self.core.held)

    def obey(self, orders: list[Action]) -> None:
        for order in orders:
            if order.act is Act.WAKE and order.ticket is not None:
                self.woken.add(order.ticket.call)
            elif order.act in (Act.RETIRE, Act.KILL) and order.worker is not None:
                assert order.worker.worker_id not in self.core.held
                self.told.add(order.worker.worker_id)

    # What may come between the interrupt and the moment when its client has tidied up.

    def nothing(self) -> None:
        """Nobody is so quick."""

    def newcomer(self) -> None:
        ticket = Ticket(900)
        try:
            self.core.enter(ticket, NOW_NS)
        except PoolError:
            return
        self.others.append(ticket)

    def another_call_of_the_session(self) -> None:
        sessions = [t.session for t in [self.torn, *self.others] if t.session is not None]
        if sessions:
            ticket = Ticket(901, sessions[0])
            self.core.enter(ticket, NOW_NS)
            self.others.append(ticket)
            holding = [t for t in self.core.held.values() if t.session is sessions[0] and t is not self.torn]
            assert len(holding) <= 1, "a session holds two workers"

    def holder_leaves(self) -> None:
        for ticket in self.others:
            if self.core.held.get(ticket.worker_id or 0) is ticket and ticket.state is TicketState.ACCEPTED:
                self.others.remove(ticket)
                self.wake(self.core.leave(ticket, NOW_NS, clean=True))
                return

    def waiter_gives_up(self) -> None:
        for ticket in self.others:
            if ticket.state in (TicketState.WAITING, TicketState.OFFERED):
                self.others.remove(ticket)
                self.wake(self.core.leave(ticket, NOW_NS, clean=True))
                assert ticket not in self.core.held.values()
                assert ticket.worker is None
                return

    def another_interrupt_is_mended(self) -> None:
        self.core.suspect()
        self.obey(self.core.plan(NOW_NS))

    def a_worker_dies(self) -> None:
        worker = next(iter(self.core.workers.values()))
        self.wake(self.core.exited(worker, NOW_NS))

    # What must hold.

    def check_torn(self) -> None:
        """Even torn: no worker is in two places, and one that the torn ticket names belongs to nobody else."""
        assert not self.core.held.keys() & self.core._idle.keys()
        named = self.torn.worker
        if named is not None:
            assert named.worker_id not in self.core._idle
            assert self.core.held.get(named.worker_id) in (None, self.torn)

    def compatible(self, ticket: Ticket, worker_id: int) -> bool:
        session = ticket.session
        if session is None:
            return True
        if any(other.session is session and other is not ticket for other in self.core.held.values()):
            return False
        own = self.core.workers.get(session.worker_id or 0) if self.core.affinity is Affinity.STRICT else None
        return own is None or not own.usable or own.worker_id == worker_id

    def check_order(self, before: dict[int, Ticket]) -> None:
        """Nobody who was granted a worker had a compatible ticket in front of him."""
        for worker_id, granted in self.core.held.items():
            if before.get(worker_id) is granted:
                continue
            for earlier in self.others:
                if earlier.call < granted.call and earlier.state is TicketState.WAITING:
                    has_one = earlier in self.core.held.values()
                    assert has_one or not self.compatible(earlier, worker_id), "not FIFO"

    def check_mended(self) -> None:
        core = self.core
        assert self.torn.worker is None
        assert self.torn.state is TicketState.WITHDRAWN
        assert self.torn not in core.held.values()
        assert self.torn not in core._queue.values()
        assert len({id(ticket) for ticket in core.held.values()}) == len(core.held), "a ticket holds two"
        assert core.held == {t.worker_id: t for t in self.others if t.state in OWNING}
        assert list(core._queue.values()) == sorted(
            (t for t in self.others if t.state is TicketState.WAITING), key=lambda ticket: ticket.call
        )
        for ticket in self.others:
            assert ticket.state in (*OWNING, TicketState.WAITING, TicketState.REFUSED)
            assert ticket.state is not TicketState.OFFERED or ticket.call in self.woken, "nobody woke it"
        for worker_id, worker in core.workers.items():
            placed = (worker_id in core.held) + (worker_id in core._idle)
            if worker.phase is WorkerState.DYING:
                assert placed == 0
                assert worker.exited_ns or worker_id in self.told, "nobody ends it"
            else:
                assert placed == 1 or worker.phase is WorkerState.STARTING, "a worker is lost"
            if worker_id in core._idle:
                assert worker_id not in self.spoilt, "a dirty worker is idle"
                assert not any(self.compatible(t, worker_id) for t in core._queue.values()), "not work-conserving"
        sessions = [t.session for t in core.held.values() if t.session is not None]
        assert len(set(sessions)) == len(sessions), "a session holds two workers"

    def drain(self) -> None:
        """Everybody who is left is served, in order."""
        granted = {ticket.call for ticket in self.core.held.values()}
        next_id = 100
        for _ in range(30):
            self.obey(orders := self.core.plan(NOW_NS))
            for order in orders:
                if order.act is Act.RELEASE and order.worker is not None:
                    self.core.released(order.worker)
                elif order.act is Act.START:
                    next_id += 1
                    self.wake(self.core.ready(self.core.started(next_id, NOW_NS), NOW_NS))
            for worker in list(self.core.workers.values()):
                if worker.phase is WorkerState.DYING and not worker.exited_ns:
                    self.wake(self.core.exited(worker, NOW_NS))
            new = {t.call for t in self.core.held.values()} - granted
            waiting = [t.call for t in self.core._queue.values() if t.session is None]
            assert not new or not waiting or max(new) < min(waiting) or any(t.session for t in self.others)
            granted |= new
            for ticket in list(self.others):
                if ticket.state is TicketState.OFFERED:
                    assert ticket.call in self.woken
                    self.core.accept(ticket)
                if ticket.state is TicketState.ACCEPTED:
                    self.others.remove(ticket)
                    self.wake(self.core.leave(ticket, NOW_NS, clean=True))
        assert [t for t in self.others if t.state is not TicketState.REFUSED] == []
        assert not self.core.held
        assert not self.core.waiting


# The set-ups: each gives a scene with the step that is interrupted.


def _waiters(scene: Scene, *calls: int, session: Session | None = None) -> None:
    for call in calls:
        ticket = scene.desk.enter(call, session)
        assert ticket.state is TicketState.WAITING
        scene.others.append(ticket)


def _enters(scene: Scene, ticket: Ticket, *, again: bool = False) -> Scene:
    def step() -> None:
        try:
            scene.core.enter(ticket, NOW_NS, again=again)
        except PoolError:
            return

    return scene.interrupted_in(ticket, step)


def _leaves(scene: Scene, ticket: Ticket, *, clean: bool = True, reason: str = "") -> Scene:
    if not clean and ticket.worker_id is not None:
        scene.spoilt.add(ticket.worker_id)
    return scene.interrupted_in(
        ticket, lambda: scene.wake(scene.core.leave(ticket, NOW_NS, clean=clean, reason=reason))
    )


def enter_with_an_idle_worker(desk: Any) -> Scene:
    scene = Scene(desk(ready=2))
    scene.others.append(scene.desk.lease(1))
    return _enters(scene, Ticket(5))


def enter_a_queue_with_a_waiter(desk: Any) -> Scene:
    scene = Scene(desk(ready=1, workers=1))
    scene.others.append(scene.desk.lease(1))
    _waiters(scene, 2)
    return _enters(scene, Ticket(5))


def enter_again_before_a_waiter(desk: Any) -> Scene:
    scene = Scene(desk(ready=1, workers=1))
    scene.others.append(scene.desk.lease(1))
    _waiters(scene, 6, 7)
    return _enters(scene, Ticket(5), again=True)


def enter_with_a_session(desk: Any) -> Scene:
    scene = Scene(desk(ready=2))
    session = Session("s")
    scene.desk.leave(scene.desk.lease(1, session))
    scene.others.append(scene.desk.lease(2))
    return _enters(scene, Ticket(5, session))


def enter_a_closed_pool(desk: Any) -> Scene:
    scene = Scene(desk(ready=2))
    scene.others.append(scene.desk.lease(1))
    scene.core.close()
    scene.obey(scene.core.plan(NOW_NS))
    return _enters(scene, Ticket(5))


def leave_with_nobody_waiting(desk: Any) -> Scene:
    scene = Scene(desk(ready=2))
    scene.others.append(scene.desk.lease(1))
    return _leaves(scene, scene.desk.lease(2))


def leave_a_worker_above_the_size(desk: Any) -> Scene:
    scene = Scene(desk(ready=1, workers=1, overflow=1))
    scene.others.append(scene.desk.lease(1))
    leaving = scene.desk.enter(2)
    scene.wake(scene.desk.start(2))
    scene.core.accept(leaving)
    return _leaves(scene, leaving)


def leave_to_two_waiters(desk: Any) -> Scene:
    scene = Scene(desk(ready=2))
    leaving = scene.desk.lease(1)
    scene.others.append(scene.desk.lease(2))
    _waiters(scene, 3, 4)
    return _leaves(scene, leaving)


def leave_dirty_before_two_waiters(desk: Any) -> Scene:
    scene = Scene(desk(ready=2))
    leaving = scene.desk.lease(1)
    scene.others.append(scene.desk.lease(2))
    _waiters(scene, 3, 4)
    return _leaves(scene, leaving, clean=False)


def leave_a_spent_worker(desk: Any) -> Scene:
    scene = Scene(desk(ready=2, max_requests=1))
    leaving = scene.desk.lease(1)
    scene.others.append(scene.desk.lease(2))
    _waiters(scene, 3)
    return _leaves(scene, leaving)


def leave_to_the_same_session(desk: Any) -> Scene:
    scene = Scene(desk(ready=2))
    session = Session("s")
    leaving = scene.desk.lease(1, session)
    _waiters(scene, 3, 4, session=session)
    scene.others.append(scene.desk.lease(5))
    return _leaves(scene, leaving)


def leave_dirty_so_that_its_session_moves(desk: Any) -> Scene:
    scene = Scene(desk(ready=2))
    session = Session("s")
    leaving = scene.desk.lease(1, session)
    _waiters(scene, 3, session=session)
    return _leaves(scene, leaving, clean=False)


def leave_to_a_session_that_may_have_either(desk: Any) -> Scene:
    scene = Scene(desk(ready=2, affinity="prefer"))
    session = Session("s")
    leaving = scene.desk.lease(1, session)
    _waiters(scene, 3, session=session)
    return _leaves(scene, leaving)


def leave_the_queue(desk: Any) -> Scene:
    scene = Scene(desk(ready=1, workers=1))
    scene.others.append(scene.desk.lease(1))
    leaving = scene.desk.enter(2)
    _waiters(scene, 3)
    return _leaves(scene, leaving)


def leave_an_offer(desk: Any) -> Scene:
    scene = Scene(desk(ready=1, workers=1))
    holder, leaving = scene.desk.lease(1), scene.desk.enter(2)
    _waiters(scene, 3, 4)
    scene.desk.leave(holder)
    assert leaving.state is TicketState.OFFERED
    return _leaves(scene, leaving)


def accept_an_offer(desk: Any) -> Scene:
    scene = Scene(desk(ready=1, workers=1))
    holder, offered = scene.desk.lease(1), scene.desk.enter(2)
    _waiters(scene, 3)
    scene.desk.leave(holder)
    return scene.interrupted_in(offered, lambda: scene.core.accept(offered))


SET_UPS = [
    enter_with_an_idle_worker,
    enter_a_queue_with_a_waiter,
    enter_again_before_a_waiter,
    enter_with_a_session,
    enter_a_closed_pool,
    leave_with_nobody_waiting,
    leave_a_worker_above_the_size,
    leave_to_two_waiters,
    leave_dirty_before_two_waiters,
    leave_a_spent_worker,
    leave_to_the_same_session,
    leave_dirty_so_that_its_session_moves,
    leave_to_a_session_that_may_have_either,
    leave_the_queue,
    leave_an_offer,
    accept_an_offer,
]
BETWEEN = [
    Scene.nothing,
    Scene.newcomer,
    Scene.another_call_of_the_session,
    Scene.holder_leaves,
    Scene.waiter_gives_up,
    Scene.another_interrupt_is_mended,
    Scene.a_worker_dies,
]


def tidy_by_leave(scene: Scene) -> None:
    # As the engine does: a worker on which something is outstanding is dirty the second time too.
    clean = scene.torn.worker_id not in scene.spoilt
    scene.wake(scene.core.leave(scene.torn, NOW_NS, clean=clean))
    scene.core.suspect()


def tidy_by_abandon(scene: Scene) -> None:
    scene.core.abandon(scene.torn)


@pytest.mark.parametrize("tidy", [tidy_by_leave, tidy_by_abandon])
@pytest.mark.parametrize("between", BETWEEN, ids=lambda between: between.__name__)
@pytest.mark.parametrize("set_up", SET_UPS, ids=lambda set_up: set_up.__name__)
def test_an_interrupt_at_any_step_costs_nobody_else_his_worker_or_his_place(
    set_up: Callable[[Any], Scene],
    between: Callable[[Scene], None],
    tidy: Callable[[Scene], None],
    desk: Any,
    interrupt: Callable[[Callable[[], object], int], bool],
) -> None:
    steps = 0
    came = True
    while came:
        scene = set_up(desk)
        before = scene.holders()
        came = interrupt(scene.step, steps)
        try:
            scene.check_torn()
            between(scene)
            scene.check_order(before)
            before |= scene.holders()
            tidy(scene)
            scene.obey(scene.core.plan(NOW_NS))
            scene.check_order(before)
            scene.check_mended()
            scene.drain()
        except Exception as error:
            raise AssertionError(f"interrupted before step {steps}: {error!r}") from error
        steps += 1
    assert steps > 2, "there is something to interrupt"

"""The coordinator's five invariants after every step: exhaustively in a small scope, at random in a larger one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from bridge import CircuitOpen, PoolClosed, PoolError, QueueFull
from bridge.lifecycle import WorkerState
from pool_v2.circuit import Circuit
from pool_v2.coordinator import Bury, Coordinator, Effects, Kill, Retire, Wake
from pool_v2.sessions import Session
from pool_v2.ticket import Ticket, TicketState

OWNING = (TicketState.OFFERED, TicketState.ACCEPTED)
Action = tuple[str, int]


class World:
    """A coordinator, its clients and its processes; `do` takes one step and checks whatever must hold after it."""

    def __init__(self, sessions: tuple[str | None, ...], *, starts_fail: bool = True, **options: object) -> None:
        self.core = Coordinator("p", Circuit(failures_to_open=2, reset_s=2.0), **{"workers": 2, **options})
        named = {name: Session(name) for name in sessions if name is not None}
        self.sessions = [None if name is None else named[name] for name in sessions]
        self.clients: list[Ticket | None] = [None] * len(sessions)
        self.queue: list[Ticket] = []
        self.to_bury: list[int] = []
        self.woken: set[int] = set()
        self.calls = 0
        self.worker_ids = 0
        self.now_ns = 0
        self.starts_fail = starts_fail

    # What can happen next.

    def actions(self) -> Iterator[Action]:
        for index, ticket in enumerate(self.clients):
            if ticket is None:
                yield "enter", index
            elif ticket.state is TicketState.WAITING:
                yield "timeout", index
            elif ticket.state is TicketState.OFFERED:
                yield "accept", index
                yield "timeout", index
            else:
                yield "leave_clean", index
                yield "leave_dirty", index
        for worker_id, worker in self.core.workers.items():
            if worker.state is WorkerState.STARTING:
                yield "ready", worker_id
                if self.starts_fail:
                    yield "start_failed", worker_id
            if not worker.exited:
                yield "exited", worker_id
        for worker_id in self.to_bury:
            yield "buried", worker_id
        if self.core.wanted_starts(self.now_ns):
            yield "start", 0
        if self.core.circuit.retry_at_ns > self.now_ns:
            yield "tick", 0
        if not self.core.closing:
            yield "close", 0

    def do(self, action: Action, *, again: bool = False) -> None:
        """Take a step; `again` says that it was checked before."""
        name, which = action
        before = list(self.queue)
        plain = {"ready": self.core.ready, "exited": self.core.exited, "close": lambda _: self.core.close()}
        step = plain[name] if name in plain else getattr(self, f"_{name}")
        self._obey(list(step(which)))
        self.queue = [ticket for ticket in self.queue if ticket.state is TicketState.WAITING]
        if not again:
            self._check(before)

    def _enter(self, index: int) -> Effects:
        self.calls += 1
        ticket = Ticket(self.calls, self.sessions[index])
        try:
            effects = self.core.enter(ticket, self.now_ns)
        except PoolError as error:
            self._refused(ticket, error)
            return self.core.leave(ticket, clean=True)
        assert ticket.state in (TicketState.ACCEPTED, TicketState.WAITING)
        self.clients[index] = ticket
        if ticket.state is TicketState.WAITING:
            self.queue.append(ticket)
        else:
            assert not [t for t in self.queue if t.session in (None, ticket.session)], "an idle worker jumped the queue"
        return effects

    def _refused(self, ticket: Ticket, error: PoolError) -> None:
        assert ticket.state is TicketState.REFUSED
        assert isinstance(error, PoolClosed if self.core.closing else CircuitOpen | QueueFull)

    def _accept(self, index: int) -> Effects:
        self.core.accept(self._ticket(index))
        return ()

    def _leave_clean(self, index: int) -> Effects:
        return self._gone(index, clean=True)

    _timeout = _leave_clean

    def _leave_dirty(self, index: int) -> Effects:
        return self._gone(index, clean=False)

    def _gone(self, index: int, *, clean: bool) -> Effects:
        ticket = self._ticket(index)
        if ticket.state is TicketState.ACCEPTED and ticket.session is not None and ticket.worker_id is not None:
            ticket.session.move(ticket.worker_id)
        self.clients[index] = None
        effects = self.core.leave(ticket, clean=clean)
        assert (ticket.worker_id, ticket.state) == (None, TicketState.WITHDRAWN)
        return effects

    def _ticket(self, index: int) -> Ticket:
        ticket = self.clients[index]
        assert ticket is not None
        return ticket

    def _start(self, _: int) -> Effects:
        self.worker_ids += 1
        self.core.started(self.worker_ids)
        return ()

    def _start_failed(self, worker_id: int) -> Effects:
        return self.core.start_failed(worker_id, "mute", self.now_ns)

    def _buried(self, worker_id: int) -> Effects:
        self.to_bury.remove(worker_id)
        return self.core.buried(worker_id)

    def _tick(self, _: int) -> Effects:
        self.now_ns = self.core.circuit.retry_at_ns
        return ()

    def _obey(self, effects: list[object]) -> None:
        for effect in effects:
            match effect:
                case Wake(ticket):
                    assert ticket.call not in self.woken, "woken twice"
                    self.woken.add(ticket.call)
                    ticket.wake()
                    if ticket.state is TicketState.REFUSED:
                        assert isinstance(ticket.error, PoolClosed if self.core.closing else CircuitOpen)
                        self.clients[self.clients.index(ticket)] = None
                    else:
                        assert ticket.state is TicketState.OFFERED
                case Bury(worker_id):
                    assert worker_id not in self.to_bury, "buried twice"
                    assert self.core.workers[worker_id].exited, "buried alive"
                    assert worker_id not in self.core.held, "buried under its holder"
                    self.to_bury.append(worker_id)
                case Retire(worker_id) | Kill(worker_id):
                    assert worker_id not in self.core.held
                    assert self.core.workers[worker_id].state is WorkerState.DYING
                    # Unless the pool closes or the worker is spent, only what is above the size is retired.
                    lasting = sum(w.state is not WorkerState.DYING for w in self.core.workers.values())
                    needed = isinstance(effect, Kill) or self.core.closing or self.core.max_requests
                    assert needed or lasting >= self.core.size

    # What must hold.

    def _compatible(self, ticket: Ticket, worker_id: int, *, busy: bool) -> bool:
        if ticket.session is None:
            return True
        if busy:
            return False
        own = self.core.workers.get(ticket.session.worker_id or 0)
        return own is None or own.exited or own.state is WorkerState.DYING or own.worker_id == worker_id

    def _check(self, waited: list[Ticket]) -> None:
        core = self.core
        owners = [t for t in self.clients if t is not None and t.state in OWNING]
        by_state = {s: {i for i, w in core.workers.items() if w.state is s} for s in WorkerState}
        # 1. One holder for each worker, one worker for each ticket, and `held` says so.
        assert {t.worker_id: t for t in owners} == core.held
        assert len(owners) == len(core.held)
        assert all(t.worker_id is None for t in self.clients if t is not None and t.state not in OWNING)
        assert by_state[WorkerState.LEASED] == set(core.held)
        # 2. No worker is idle while a compatible ticket waits; none is idle and dead.
        for worker_id in by_state[WorkerState.IDLE]:
            assert not core.workers[worker_id].exited
            for ticket in self.queue:
                busy = ticket.session is not None and ticket.session.busy
                assert not self._compatible(ticket, worker_id, busy=busy), "not work-conserving"
        # 3. Who was granted a worker in this step had no compatible ticket in front.
        for granted in [t for t in waited if t.state is TicketState.OFFERED]:
            for earlier in [t for t in waited[: waited.index(granted)] if t.state is TicketState.WAITING]:
                mine = earlier.session is not None and earlier.session is granted.session
                busy = earlier.session is not None and earlier.session.busy and not mine
                assert not self._compatible(earlier, granted.worker_id or 0, busy=busy), "not FIFO"
        # 4. Every worker is in one of four states, and there are never too many.
        assert not by_state[WorkerState.GONE]
        assert len(core.workers) <= core.most
        assert core.waiting == len(self.queue)
        assert core.max_queue is None or core.waiting <= core.max_queue
        # 5. A session is busy exactly while a ticket of it holds a worker.
        for session in self.sessions:
            assert session is None or session.busy == any(t.session is session for t in owners)
        # And nobody is forgotten: below its floor, or with a waiter, the pool has or wants a worker.
        if core.closing:
            assert not self.queue
            assert core.wanted_starts(self.now_ns) == 0
        elif core.circuit.retry_at_ns <= self.now_ns:
            probe = core.wanted_starts(self.now_ns)
            assert probe + len(core.workers) >= (1 if core.circuit.tripped and core.floor else core.floor)
            assert not self.queue or probe + len(core.workers) > 0

    def key(self) -> object:
        """Everything that decides what can follow; workers and calls by rank, clients of one session in any order."""
        core = self.core
        rank = {worker_id: place for place, worker_id in enumerate(core.workers)}

        def session_key(session: Session | None) -> object:
            return session and (rank.get(session.worker_id or 0), session.busy)

        def client_key(ticket: Ticket | None, session: Session | None) -> tuple[str, int, int, int]:
            name = "" if session is None else session.session_id
            if ticket is None:
                return name, 0, -1, -1
            place = self.queue.index(ticket) if ticket in self.queue else -1
            return name, ticket.state.value, rank.get(ticket.worker_id or 0, -1), place

        return (
            tuple(sorted(map(client_key, self.clients, self.sessions))),
            tuple((w.state, w.exited, w.served if core.max_requests else 0) for w in core.workers.values()),
            tuple(rank[worker_id] for worker_id in core._idle),
            tuple(rank[worker_id] for worker_id in self.to_bury),
            tuple(session_key(session) for session in self.sessions),
            (core.closing, min(core.circuit._failures, 2), core.circuit.retry_at_ns - self.now_ns),
        )


def explore(new_world: Callable[[], World]) -> tuple[int, set[str]]:
    """Take every action in every reachable state, until none is new; how many states there are, and the actions."""

    def replay(path: tuple[Action, ...]) -> World:
        world = new_world()
        for action in path:
            world.do(action, again=True)
        return world

    first = new_world()
    seen = {first.key()}
    frontier = [((), list(first.actions()))]
    taken: set[str] = set()
    while frontier:
        following: list[tuple[tuple[Action, ...], list[Action]]] = []
        for path, actions in frontier:
            for action in actions:
                world = replay(path)
                try:
                    world.do(action)
                except Exception as error:
                    raise AssertionError(f"after {path}: {action}: {error}") from error
                taken.add(action[0])
                if (key := world.key()) not in seen:
                    seen.add(key)
                    following.append(((*path, action), list(world.actions())))
        frontier = following
    return len(seen), taken


ALL_ACTIONS = {
    *("enter", "accept", "timeout", "leave_clean", "leave_dirty", "close", "tick"),
    *("start", "ready", "start_failed", "exited", "buried"),
}


@pytest.mark.parametrize(
    ("sessions", "options"),
    [
        pytest.param((None, None, None), {}, id="anonymous"),
        pytest.param(("s", "s", None), {"starts_fail": False}, id="sessions"),
        pytest.param((None, None, None), {"workers": 1, "overflow": 1}, id="overflow"),
        pytest.param((None, None, None), {"lazy": True, "max_queue": 1}, id="lazy"),
        pytest.param((None, None), {"max_requests": 1}, id="recycling"),
    ],
)
def test_every_reachable_state_of_two_workers_and_three_clients_keeps_the_invariants(
    sessions: tuple[str | None, ...], options: dict[str, object]
) -> None:
    states, taken = explore(lambda: World(sessions, **options))

    assert taken == ALL_ACTIONS - (set() if options.get("starts_fail", True) else {"start_failed", "tick"})
    assert states > 300


def last_comes_first(core: Coordinator) -> None:
    core._queue = dict(reversed(core._queue.items()))


def idle_is_forgotten(core: Coordinator) -> None:
    core._idle.clear()


@pytest.mark.parametrize("planted", [last_comes_first, idle_is_forgotten])
@pytest.mark.parametrize("where", ["leave", "ready", "exited"])
def test_the_exploration_finds_a_planted_bug(
    planted: Callable[[Coordinator], None], where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = getattr(Coordinator, where)

    def broken(core: Coordinator, *args: object, **options: object) -> Effects:
        planted(core)
        return sound(core, *args, **options)

    monkeypatch.setattr(Coordinator, where, broken)
    with pytest.raises(AssertionError):
        explore(lambda: World((None, None, None)))


@settings(
    max_examples=30,
    stateful_step_count=50,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
class LargerScope(RuleBasedStateMachine):
    """The same world with more of everything, walked at random."""

    @initialize(
        workers=st.integers(1, 3),
        overflow=st.integers(0, 2),
        lazy=st.booleans(),
        max_queue=st.none() | st.integers(0, 3),
        max_requests=st.none() | st.integers(1, 3),
        sessions=st.lists(st.sampled_from([None, None, "s", "t"]), min_size=3, max_size=8),
    )
    def begin(self, sessions: list[str | None], **options: object) -> None:
        self.world = World(tuple(sessions), **options)

    @rule(data=st.data())
    def step(self, data: st.DataObject) -> None:
        # A close ends most of what can happen, so it is drawn rarely.
        actions = [a for a in self.world.actions() if a[0] != "close"]
        rarely = data.draw(st.integers(0, 19)) == 0 and not self.world.core.closing
        if rarely or not actions:
            actions = [a for a in self.world.actions() if a[0] == "close"] or actions
        if actions:
            self.world.do(data.draw(st.sampled_from(actions)))

    def teardown(self) -> None:
        """Whatever happened, closing and letting every client go leaves nothing behind."""
        world = self.world
        if not world.core.closing:
            world.do(("close", 0))
        while actions := [a for a in world.actions() if a[0] in ("accept", "leave_clean", "exited", "buried")]:
            world.do(actions[0])
        assert not world.core.workers
        assert not world.core.held
        assert world.core.waiting == 0


test_the_larger_scope_keeps_the_invariants = LargerScope.TestCase

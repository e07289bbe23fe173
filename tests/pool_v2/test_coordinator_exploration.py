"""The coordinator's rules after every step: exhaustively in a small scope, at random in a larger one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from poolproof.bridge import CircuitOpen, PoolClosed, PoolError, QueueFull
from poolproof.bridge.lifecycle import WorkerState
from poolproof.pool_v2.core.actions import OFFER_GRACE_NS, RETIRE_GRACE_NS, STRANGER_GRACE_NS, Act
from poolproof.pool_v2.core.circuit import Circuit
from poolproof.pool_v2.core.coordinator import Coordinator
from poolproof.pool_v2.core.grants import Affinity
from poolproof.pool_v2.core.sessions import Session
from poolproof.pool_v2.core.ticket import Ticket, TicketState
from poolproof.pool_v2.core.worker_table import NEVER_NS, Limits, Worker

pytestmark = pytest.mark.usefixtures("untraced")

OWNING = (TicketState.OFFERED, TicketState.ACCEPTED)
Action = tuple[str, int]


class World:
    """A coordinator, its clients and its processes; `do` takes one step and checks whatever must hold after it."""

    def __init__(
        self,
        sessions: tuple[str | None, ...],
        *,
        starts_fail: bool = True,
        late: bool = False,
        pings: bool = False,
        eager: bool = False,
        coarse: bool = False,
        workers: int = 2,
        overflow: int = 0,
        lazy: bool = False,
        max_requests: int | None = None,
        max_queue: int | None = None,
        affinity: str = "strict",
        sizes: tuple[int, ...] = (),
        drains: bool = False,
    ) -> None:
        self.limits = Limits(
            size=workers, floor=0 if lazy else workers, most=workers + overflow, max_requests=max_requests
        )
        self.sizes = sizes  # to which the pool may be resized
        self.drains = drains
        self.core = Coordinator("p", Circuit(failures_to_open=2, reset_s=2.0), self.limits, max_queue=max_queue)
        self.core.affinity = Affinity(affinity)
        named = {name: Session(name) for name in sessions if name is not None}
        self.sessions = [None if name is None else named[name] for name in sessions]
        self.clients: list[Ticket | None] = [None] * len(sessions)
        self.own: Ticket | None = None  # the pool's, for a ping
        self.queue: list[Ticket] = []
        self.woken: set[int] = set()
        self.told: set[int] = set()
        self.cut_off: set[int] = set()
        self.calls = 0
        self.worker_ids = 0
        self.now_ns = 1_000_000_000
        self.starts_fail, self.late, self.pings = starts_fail, late, pings
        self.coarse = coarse  # whether time goes in long steps only
        self.eager = eager  # whether the supervisor looks at once, and not at any later time

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
            if self.late and ticket is not None and ticket.deadline_ns == NEVER_NS:
                yield "late", index
        for worker_id, worker in self.core.workers.items():
            if worker.phase is WorkerState.STARTING:
                yield "ready", worker_id
                if self.starts_fail:
                    yield "start_failed", worker_id
            if not worker.exited:
                yield "exited", worker_id
            if self.pings and self.own is None and worker_id in self.core._idle and not self.core.closing:
                yield "take", worker_id
        if self.own is not None:
            yield "put_back", 0
        if not self.eager or self.core.attention:
            yield "plan", 0
        if self._times():
            yield "tick", 0
        if not self.core.closing:
            yield "close", 0
            if self.drains and not self.core.refusing:
                yield "drain", 0
        if not self.core.refusing:
            for size in self.sizes:
                if size != self.limits.size:
                    yield "resize", size

    def _lasting(self) -> set[Worker]:
        return {worker for worker in self.core.workers.values() if worker.phase is not WorkerState.DYING}

    def _times(self) -> list[int]:
        times = [self.core.circuit.retry_at_ns]
        for worker in self.core.workers.values():
            if worker.told_ns and not worker.killed and not worker.exited:
                times.append(worker.told_ns + RETIRE_GRACE_NS)
            if worker.exited and worker.worker_id in self.core.held and not worker.woken and not self.coarse:
                times.append(worker.exited_ns + STRANGER_GRACE_NS)
        return [time for time in times if time > self.now_ns]

    def do(self, action: Action, *, again: bool = False) -> None:
        """Take a step; `again` says that it was checked before."""
        name, which = action
        before, held, lasting = list(self.queue), dict(self.core.held), self._lasting()
        living = self._living()
        self._wake(list(getattr(self, f"_{name}")(which) or ()))
        if self.eager and self.core.attention:
            self._wake(self._plan(0))
        self._settle()
        if not again:
            self._check(before, held)
            gone = [w for w in lasting - self._lasting() if not (w.reason or w.exited or w.overdue)]
            needed = self.core.closing or self.limits.max_requests or len(self._lasting()) >= self.limits.size
            assert needed or self.sizes or not gone, "only what is above the size is retired without need"
            if name == "resize":
                assert held.items() <= self.core.held.items(), "a lease has lost its worker"
                assert before == self.queue or len(self.queue) < len(before)
            assert self._living() <= max(self.limits.most, living), "a worker too many was started"

    def _living(self) -> int:
        return sum(not worker.exited_ns or i in self.core.held for i, worker in self.core.workers.items())

    def do_interrupted(self, action: Action, step: int, interrupt: Any, *, abandon: bool) -> None:
        """Take a client's step, in which it is interrupted; then what the engine does, and a look."""
        name, index = action
        before, held = list(self.queue), dict(self.core.held)
        ticket = self.clients[index]
        if ticket is None:
            self.calls += 1
            ticket = Ticket(self.calls, self.sessions[index])
        steps: dict[str, Callable[[], Any]] = {
            "enter": lambda: self.core.enter(ticket, self.now_ns),
            "accept": lambda: self.core.accept(ticket),
        }
        leave = steps.get(name, lambda: self._wake(self.core.leave(ticket, self.now_ns, clean=name != "leave_dirty")))

        def work() -> None:
            try:
                leave()
            except PoolError:
                pass

        interrupt(work, step)
        if abandon:
            self.core.abandon(ticket)
        else:
            self._wake(self.core.leave(ticket, self.now_ns, clean=name != "leave_dirty"))
            self.core.suspect()
        self.clients[index] = None
        self._wake(self._plan(0))
        self._settle()
        self._check(before, held)

    def _wake(self, tickets: list[Ticket]) -> None:
        for ticket in tickets:
            assert ticket.state in (TicketState.OFFERED, TicketState.REFUSED)
            self.woken.add(ticket.call)
            ticket.wake()
            if ticket.state is TicketState.REFUSED:
                assert isinstance(ticket.error, PoolClosed if self.core.closing else CircuitOpen)
                self.clients[self.clients.index(ticket)] = None

    def _settle(self) -> None:
        waiting = [t for t in self.clients if t is not None and t.state is TicketState.WAITING]
        self.queue = sorted(waiting, key=lambda ticket: ticket.call)

    # The steps of clients.

    def _enter(self, index: int) -> None:
        self.calls += 1
        ticket = Ticket(self.calls, self.sessions[index])
        try:
            self.core.enter(ticket, self.now_ns)
        except (PoolClosed, CircuitOpen, QueueFull) as error:
            self._refused(ticket, error)
            return
        assert ticket.state in (TicketState.ACCEPTED, TicketState.WAITING)
        self.clients[index] = ticket

    def _refused(self, ticket: Ticket, error: PoolError) -> None:
        assert ticket.state is TicketState.REFUSED
        assert isinstance(error, PoolClosed) == self.core.refusing
        assert self.core.leave(ticket, self.now_ns, clean=True) == []

    def _accept(self, index: int) -> None:
        self.core.accept(self._ticket(index))

    def _leave_clean(self, index: int) -> list[Ticket]:
        return self._gone(index, clean=True)

    _timeout = _leave_clean

    def _leave_dirty(self, index: int) -> list[Ticket]:
        return self._gone(index, clean=False)

    def _gone(self, index: int, *, clean: bool) -> list[Ticket]:
        ticket = self._ticket(index)
        worker = ticket.worker
        if ticket.state is TicketState.ACCEPTED and ticket.session is not None and worker is not None:
            ticket.session.met(worker.worker_id)
        self.clients[index] = None
        woken = self.core.leave(ticket, self.now_ns, clean=clean)
        assert (ticket.worker, ticket.state) == (None, TicketState.WITHDRAWN)
        if worker is not None and (not clean or worker.exited or worker.worker_id in self.cut_off):
            assert worker.phase is WorkerState.DYING, "it was handed on"
        return woken

    def _ticket(self, index: int) -> Ticket:
        ticket = self.clients[index]
        assert ticket is not None
        return ticket

    def _late(self, index: int) -> None:
        self._ticket(index).deadline_ns = self.now_ns
        self.core.attention = True

    def _close(self, _: int) -> list[Ticket]:
        return self.core.close()

    def _drain(self, _: int) -> None:
        self.core.drain()

    def _resize(self, size: int) -> list[Ticket]:
        floor, overflow = min(self.limits.floor, 1) * size, self.limits.most - self.limits.size
        self.limits = msgspec.structs.replace(self.limits, size=size, floor=floor, most=size + overflow)
        return self.core.resize(self.limits)

    # The steps of processes, of the clock and of the supervisor.

    def _ready(self, worker_id: int) -> list[Ticket]:
        return self.core.ready(self.core.workers[worker_id], self.now_ns)

    def _start_failed(self, worker_id: int) -> list[Ticket]:
        return self.core.start_failed(self.core.workers[worker_id], "mute", self.now_ns)

    def _exited(self, worker_id: int) -> list[Ticket]:
        return self.core.exited(self.core.workers[worker_id], self.now_ns)

    def _take(self, worker_id: int) -> None:
        self.calls += 1
        own = Ticket(self.calls)
        assert self.core.take(self.core.workers[worker_id], own)
        self.own = own

    def _put_back(self, _: int) -> list[Ticket]:
        own, self.own = self.own, None
        assert own is not None
        assert own.worker is not None
        return self.core.put_back(own, self.now_ns, since_ns=own.worker.idle_since_ns)

    def _tick(self, _: int) -> None:
        self.now_ns = min(self._times())
        if self.eager:
            self.core.attention = True

    def _plan(self, _: int) -> list[Ticket]:
        core = self.core
        expected = core.attention or self.now_ns >= core.watch_ns
        soon = core.watch_ns <= self.now_ns + OFFER_GRACE_NS
        woken: list[Ticket] = []
        for order in core.plan(self.now_ns):
            worker, ticket = order.worker, order.ticket
            if order.act is Act.START:
                self.worker_ids += 1
                core.started(self.worker_ids, self.now_ns)
            elif order.act is Act.WAKE:
                assert ticket is not None
                woken.append(ticket)
            else:
                assert worker is not None
                self._carry_out(order.act, worker)
            seen = expected or order.act is Act.WAKE or (order.act is Act.CUT_OFF and soon)
            assert seen, f"nobody would have looked, but {order.act}"
        assert core.watch_ns > self.now_ns
        assert core.attention or core.wanted_starts(self.now_ns) == 0
        for worker_id, worker in core.workers.items():
            if worker.phase is WorkerState.DYING and worker_id not in core.held:
                assert not worker.exited, "it should be released"
                assert worker_id in self.told, "nobody ends it"
        return woken

    def _carry_out(self, act: Act, worker: Worker) -> None:
        worker_id = worker.worker_id
        held = worker_id in self.core.held
        if act is Act.RELEASE:
            assert worker.exited, "released alive"
            assert not held, "released under its holder"
            self.core.released(worker)
            return
        if act is Act.CUT_OFF:
            assert worker_id not in self.cut_off, "cut off twice"
            assert self.core.held[worker_id].state is TicketState.ACCEPTED
            self.cut_off.add(worker_id)
            self.told.add(worker_id)
            return
        if act is Act.WAKE_READER:
            assert held
            assert worker.exited
            return
        assert act in (Act.RETIRE, Act.KILL)
        assert not held
        assert worker.phase is WorkerState.DYING
        assert act is Act.KILL or worker_id not in self.told, "asked twice"
        self.told.add(worker_id)

    # What must hold.

    def _compatible(self, ticket: Ticket, worker_id: int, *, mine: bool = False) -> bool:
        session = ticket.session
        if session is None:
            return True
        if not mine and any(t.session is session for t in self.core.held.values()):
            return False
        own = self.core.workers.get(session.worker_id or 0)
        strict = self.core.affinity is Affinity.STRICT
        return not strict or own is None or not own.usable or own.worker_id == worker_id

    def _check(self, waited: list[Ticket], held: dict[int, Ticket]) -> None:
        core = self.core
        owners = [t for t in [*self.clients, self.own] if t is not None and t.state in OWNING]
        # 1. One holder for each worker, one worker for each ticket, and `held` and `_idle` say so.
        assert {t.worker_id: t for t in owners} == core.held
        assert len(owners) == len(core.held)
        assert all(t.worker is None for t in self.queue)
        assert not core.held.keys() & core._idle.keys()
        idle = {i for i, w in core.workers.items() if w.phase is WorkerState.IDLE} - core.held.keys()
        assert idle == core._idle.keys()
        assert all(t.call in self.woken for t in owners if t.state is TicketState.OFFERED), "nobody woke it"
        # 2. No worker is idle while a compatible ticket waits; none is idle and dead or cut off.
        for worker_id in idle:
            assert core.workers[worker_id].usable
            assert worker_id not in self.cut_off
            assert not any(self._compatible(ticket, worker_id) for ticket in self.queue), "not work-conserving"
        # 3. Who was granted a worker in this step had no compatible ticket in front.
        for worker_id, granted in core.held.items():
            if held.get(worker_id) is granted or granted is self.own:
                continue
            for earlier in [t for t in waited if t.call < granted.call and t.state is TicketState.WAITING]:
                mine = granted.session is not None and earlier.session is granted.session
                assert not self._compatible(earlier, worker_id, mine=mine), "not FIFO"
        # 4. Every worker is in one of four states, there are never too many, and none serves more than it may.
        going = [w for w in core.workers.values() if w.phase is not WorkerState.DYING and not w.exited_ns]
        assert len(going) <= self.limits.most or not any(w.worker_id in core._idle for w in going), (
            "one too many is idle"
        )
        if not self.sizes:
            assert sum(not worker.exited_ns for worker in core.workers.values()) <= self.limits.most
        assert core.drained == (
            not self.queue and all(core.workers[i].phase is WorkerState.STARTING for i in core.held)
        )
        assert all(w.phase is not WorkerState.GONE for w in core.workers.values())
        assert all(w.served <= (self.limits.max_requests or NEVER_NS) for w in core.workers.values())
        assert list(core._queue.values()) == self.queue
        assert core.max_queue is None or core.waiting <= core.max_queue
        # 5. A session's calls hold at most one worker.
        for session in filter(None, self.sessions):
            holding = [t for t in owners if t.session is session]
            assert len(holding) <= 1
            assert core._busy(session) == bool(holding)
        if core.closing:
            assert not self.queue

    def key(self) -> object:
        """Everything that decides what can follow; workers and calls by rank, clients of one session in any order."""
        core = self.core
        rank = {worker_id: place for place, worker_id in enumerate(core.workers)}

        def client_key(ticket: Ticket | None, session: Session | None) -> tuple[object, ...]:
            name = "" if session is None else session.session_id
            if ticket is None:
                return name, 0, -1, -1, False
            place = self.queue.index(ticket) if ticket in self.queue else -1
            return name, ticket.state.value, rank.get(ticket.worker_id or 0, -1), place, ticket.deadline_ns != NEVER_NS

        def worker_key(w: Worker) -> tuple[object, ...]:
            grace_ns = max(w.told_ns + RETIRE_GRACE_NS - self.now_ns, -1) if w.told_ns and not w.killed else 0
            held = w.worker_id in core.held
            stranger_ns = max(w.exited_ns + STRANGER_GRACE_NS - self.now_ns, -1) if w.exited and held else 0
            served = w.served if self.limits.max_requests else 0
            marks = (w.killed, w.woken, w.overdue, bool(w.reason), w.request_limit == 0)
            return w.phase, w.exited, served, grace_ns, stranger_ns, marks

        return (
            tuple(sorted(map(client_key, self.clients, self.sessions), key=repr)),
            tuple(map(worker_key, core.workers.values())),
            tuple(rank[worker_id] for worker_id in core._idle),
            tuple(s and rank.get(s.worker_id or 0) for s in self.sessions),
            self.own and rank.get(self.own.worker_id or 0),
            (core.closing, core.refusing, self.limits.size),
            (min(core.circuit.failures, 2), max(core.circuit.retry_at_ns - self.now_ns, 0)),
            core.attention or self.now_ns >= core.watch_ns,
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
    frontier: list[tuple[tuple[Action, ...], list[Action]]] = [((), list(first.actions()))]
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
    *("enter", "accept", "timeout", "leave_clean", "leave_dirty", "close", "plan", "tick"),
    *("ready", "start_failed", "exited"),
}


@pytest.mark.parametrize(
    ("sessions", "options", "missing"),
    [
        pytest.param((None, None), {}, set(), id="anonymous"),
        pytest.param((None, None, None), {"eager": True}, set(), id="three_clients"),
        pytest.param(("s", "s", None), {"starts_fail": False, "eager": True}, {"start_failed"}, id="strict"),
        pytest.param(
            ("s", "s", None), {"starts_fail": False, "eager": True, "affinity": "prefer"}, {"start_failed"}, id="prefer"
        ),
        pytest.param(
            (None, None, None),
            {"workers": 1, "overflow": 1, "starts_fail": False, "eager": True, "coarse": True},
            {"start_failed"},
            id="overflow",
        ),
        pytest.param((None, None, None), {"workers": 1, "lazy": True, "max_queue": 1}, set(), id="lazy"),
        pytest.param(
            (None, None),
            {"max_requests": 1, "starts_fail": False, "eager": True, "coarse": True},
            {"start_failed"},
            id="use",
        ),
        pytest.param((None, None), {"late": True, "workers": 1, "starts_fail": False}, {"start_failed"}, id="late"),
        pytest.param((None, None), {"pings": True, "starts_fail": False, "eager": True}, {"start_failed"}, id="pings"),
        pytest.param(
            (None, "s"),
            {"workers": 1, "sizes": (1, 2), "starts_fail": False, "eager": True, "coarse": True},
            {"start_failed"},
            id="resize",
        ),
        pytest.param((None, None), {"drains": True, "starts_fail": False, "eager": True}, {"start_failed"}, id="drain"),
    ],
)
def test_every_reachable_state_of_a_small_pool_keeps_the_rules(
    sessions: tuple[str | None, ...], options: dict[str, Any], missing: set[str]
) -> None:
    states, taken = explore(lambda: World(sessions, **options))

    more = ({"late"} if options.get("late") else set()) | ({"take", "put_back"} if options.get("pings") else set())
    more |= ({"drain"} if options.get("drains") else set()) | ({"resize"} if options.get("sizes") else set())
    assert taken == (ALL_ACTIONS | more) - missing
    assert states > 100


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

    def broken(core: Coordinator, *args: object, **options: object) -> Any:
        planted(core)
        return sound(core, *args, **options)

    monkeypatch.setattr(Coordinator, where, broken)
    with pytest.raises(AssertionError):
        explore(lambda: World((None, None, None), eager=True))


def test_the_exploration_finds_a_supervisor_that_nobody_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = Coordinator.exited

    def silent(core: Coordinator, worker: Worker, now_ns: int) -> list[Ticket]:
        woken = sound(core, worker, now_ns)
        core.attention = False
        return woken

    monkeypatch.setattr(Coordinator, "exited", silent)
    with pytest.raises(AssertionError):
        explore(lambda: World((None, None)))


@settings(
    max_examples=20,
    stateful_step_count=50,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
class LargerScope(RuleBasedStateMachine):
    """The same world with more of everything, walked at random, its clients interrupted now and then."""

    interrupt: Any = None

    @initialize(
        workers=st.integers(1, 3),
        overflow=st.integers(0, 2),
        lazy=st.booleans(),
        max_queue=st.none() | st.integers(0, 3),
        max_requests=st.none() | st.integers(1, 3),
        affinity=st.sampled_from(["strict", "prefer", "none"]),
        sessions=st.lists(st.sampled_from([None, None, "s", "t"]), min_size=3, max_size=8),
    )
    def begin(self, sessions: list[str | None], **options: Any) -> None:
        self.world = World(tuple(sessions), late=True, pings=True, sizes=(1, 2, 4), drains=True, **options)

    @rule(data=st.data())
    def step(self, data: st.DataObject) -> None:
        # A close ends most of what can happen, so it is drawn rarely.
        actions = [a for a in self.world.actions() if a[0] not in ("close", "drain")]
        rarely = data.draw(st.integers(0, 19)) == 0 and not self.world.core.closing
        if rarely:
            actions = [(data.draw(st.sampled_from(["close", "drain"])), 0)]
        self.world.do(data.draw(st.sampled_from(actions)))

    @rule(data=st.data(), at=st.integers(0, 60), abandon=st.booleans())
    def interrupted_step(self, data: st.DataObject, at: int, abandon: bool) -> None:
        kinds = ("enter", "accept", "leave_clean", "leave_dirty", "timeout")
        actions = [a for a in self.world.actions() if a[0] in kinds]
        if actions:
            self.world.do_interrupted(data.draw(st.sampled_from(actions)), at, self.interrupt, abandon=abandon)

    def teardown(self) -> None:
        """Whatever happened, closing and letting every client go leaves nothing behind."""
        world = self.world
        if not world.core.closing:
            world.do(("close", 0))
        world.do(("plan", 0))
        last = ("accept", "leave_clean", "put_back", "exited")
        while actions := [a for a in world.actions() if a[0] in last]:
            world.do(actions[0])
            world.do(("plan", 0))
        assert not world.core.workers
        assert not world.core.held
        assert world.core.waiting == 0


def test_the_larger_scope_keeps_the_rules(interrupt: Any) -> None:
    machine = type("Interrupted", (LargerScope,), {"interrupt": staticmethod(interrupt)})
    run_state_machine_as_test(machine, settings=LargerScope.TestCase.settings)

"""What the tests of V2 share: pools that are always closed, observers that can be waited for, clients with a limit."""

from __future__ import annotations

import asyncio
import dis
import functools
import gc
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import psutil
import pytest

from poolproof.bridge import Event, EventKind, PoolConfig
from poolproof.bridge.wire.exchange import Steps
from poolproof.pool_v2 import PoolV2, WorkerBehaviour
from poolproof.pool_v2.aio.pool import AsyncPool
from poolproof.pool_v2.calls import calls, handover, leases, transfer
from poolproof.pool_v2.calls.io import ThreadTicket
from poolproof.pool_v2.core.behaviour import HOOKS
from poolproof.pool_v2.core.circuit import Circuit
from poolproof.pool_v2.core.coordinator import Coordinator
from poolproof.pool_v2.core.grants import Affinity
from poolproof.pool_v2.core.sessions import Session
from poolproof.pool_v2.core.ticket import Ticket, TicketState
from poolproof.pool_v2.core.worker_table import NEVER_NS, Limits, Worker
from poolproof.pool_v2.running.supervisor import Supervisor
from tests.waiting import HANG_GUARD_S, stop, wait_until

HARD_LIMIT_S = HANG_GUARD_S


class EventLog:
    """An observer that keeps every event; `wait_for` gives the first that fits and fails after the hard limit."""

    def __init__(self) -> None:
        self.logs: list[Any] = []  # of the pools that it observes
        self._events: list[Event] = []
        self._changed = threading.Condition()

    def __call__(self, event: Event) -> None:
        with self._changed:
            self._events.append(event)
            self._changed.notify_all()

    @property
    def events(self) -> list[Event]:
        """All events so far, in order of time."""
        for log in self.logs:
            log.flush()
        with self._changed:
            return sorted(self._events, key=lambda event: event.at_ns)

    def of(self, *kinds: EventKind, call: int | None = None) -> list[Event]:
        """The events of these kinds so far, in order of time."""
        return [e for e in self.events if e.kind in kinds and (call is None or e.call == call)]

    def wait_for(self, kind: EventKind, *, count: int = 1, **fields: Any) -> Event:
        """Wait for the `count`-th event of this kind whose fields are as given."""

        def found() -> list[Event]:
            return [e for e in self._events if e.kind is kind and all(getattr(e, k) == v for k, v in fields.items())]

        with self._changed:
            assert self._changed.wait_for(lambda: len(found()) >= count, HARD_LIMIT_S), f"no {kind} with {fields}"
            return found()[count - 1]


class Spy(WorkerBehaviour):
    """Keeps what each hook was told, and answers by `script` where it says how, else as every behaviour does."""

    def __init__(self, **script: Callable[..., Any]) -> None:
        self.script = script
        self.told: list[tuple[Any, ...]] = []
        self._changed = threading.Condition()

    def hear(self, hook: str, *args: Any) -> Any:
        """One hook is called; what is told comes before what the script does."""
        with self._changed:
            self.told.append((hook, *args))
            self._changed.notify_all()
        if hook in self.script:
            return self.script[hook](*args)
        return getattr(super(), hook)(*args)

    def of(self, *hooks: str) -> list[tuple[Any, ...]]:
        """What these hooks were told so far, each with the hook's name first."""
        with self._changed:
            return [told for told in self.told if told[0] in hooks]

    def wait_for(self, hook: str, *, count: int = 1) -> tuple[Any, ...]:
        """Wait for the `count`-th time that the hook is called; its arguments. Fails after the hard limit."""

        def found() -> list[tuple[Any, ...]]:
            return [told[1:] for told in self.told if told[0] == hook]

        with self._changed:
            assert self._changed.wait_for(lambda: len(found()) >= count, HARD_LIMIT_S), f"no {hook!r} in {self.told}"
            return found()[count - 1]


for _hook in HOOKS:
    setattr(Spy, _hook, functools.partialmethod(Spy.hear, _hook))


class Client:
    """One thread that runs `work`; `result` joins it with a hard limit and returns or raises what it did."""

    def __init__(self, work: Callable[..., Any], *args: Any, **options: Any) -> None:
        self.value: Any = None
        self.error: BaseException | None = None
        self._work = lambda: work(*args, **options)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.value = self._work()
        except BaseException as error:
            self.error = error

    def result(self) -> Any:
        """What the work returned; raises what it raised."""
        self.join()
        if self.error is not None:
            raise self.error
        return self.value

    def join(self) -> None:
        """Wait for the end."""
        self.thread.join(HARD_LIMIT_S)
        assert not self.thread.is_alive(), "a client hangs"


def is_gone(pid: int) -> bool:
    """Whether the process has ended with all its threads; a zombie's first thread may end before the others."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([pidfd], [], [], 0)[0])
    finally:
        os.close(pidfd)


SECOND_NS = 1_000_000_000


class Desk:
    """A coordinator whose idle workers are numbered from 1, and short words for what clients and processes do."""

    def __init__(
        self,
        *,
        ready: int = 0,
        workers: int = 2,
        overflow: int = 0,
        floor: int | None = None,
        failures_to_open: int = 2,
        max_queue: int | None = None,
        affinity: str = "strict",
        **limits: Any,
    ) -> None:
        sizes: dict[str, Any] = {
            "size": workers,
            "floor": workers if floor is None else floor,
            "most": workers + overflow,
        }
        circuit = Circuit(failures_to_open=failures_to_open, reset_s=2.0)
        self.core = Coordinator("p", circuit, Limits(**sizes, **limits), max_queue=max_queue)
        self.core.affinity = Affinity(affinity)
        for worker_id in range(1, ready + 1):
            self.start(worker_id)

    def start(self, worker_id: int, now_ns: int = SECOND_NS) -> list[Ticket]:
        """A worker is started and answers at once."""
        return self.core.ready(self.core.started(worker_id, now_ns), now_ns)

    def worker(self, worker_id: int) -> Worker:
        """What the coordinator knows of it."""
        return self.core.workers[worker_id]

    def enter(
        self,
        call: int,
        session: Session | None = None,
        *,
        deadline_ns: int = NEVER_NS,
        until_ns: int = NEVER_NS,
        **options: Any,
    ) -> Ticket:
        """A call comes, in time unless told otherwise; its session meets the worker that it is given."""
        ticket = ThreadTicket(call, session, deadline_ns=deadline_ns, until_ns=until_ns)
        self.core.enter(ticket, options.pop("now_ns", min(SECOND_NS, deadline_ns - 1)), **options)
        if session is not None and ticket.worker_id is not None:
            session.met(ticket.worker_id)
        return ticket

    def lease(self, call: int, session: Session | None = None, **options: Any) -> Ticket:
        """A call comes and is given an idle worker at once."""
        ticket = self.enter(call, session, **options)
        assert ticket.state is TicketState.ACCEPTED
        return ticket

    def leave(self, ticket: Ticket, now_ns: int = SECOND_NS, *, clean: bool = True, reason: str = "") -> list[Ticket]:
        """A client is done."""
        return self.core.leave(ticket, now_ns, clean=clean, reason=reason)

    def exit(self, worker_id: int, now_ns: int = SECOND_NS) -> list[Ticket]:
        """A process ends."""
        return self.core.exited(self.worker(worker_id), now_ns)

    def end_of(self, worker: Worker, now_ns: int, cause: str) -> None:
        """A process ends, and is reaped."""
        self.core.exited(worker, now_ns, unreaped=True)
        self.core.reaped(worker, now_ns, cause)

    def end(self, worker_id: int, now_ns: int = SECOND_NS) -> None:
        """A process ends, and is released when the plan says so."""
        self.exit(worker_id, now_ns)
        assert ("release", worker_id) in self.plan(now_ns)
        self.core.released(self.worker(worker_id))

    def plan(self, now_ns: int = SECOND_NS) -> list[tuple[str, int | None]]:
        """What is to be done now: each act with its worker's id or its ticket's call."""
        told: list[tuple[str, int | None]] = []
        for order in self.core.plan(now_ns):
            subject = order.worker.worker_id if order.worker is not None else None
            told.append((str(order.act), order.ticket.call if order.ticket is not None else subject))
        return told

    def states(self) -> dict[int, str]:
        """Each worker's state."""
        return {worker_id: self.core.state_of(worker).value for worker_id, worker in self.core.workers.items()}


class Interrupted(BaseException):
    """What an interrupt raises in a client's thread."""


CORE_FILES = {f"{name}.py" for name in ("coordinator", "grants", "replacement", "ticket", "sessions", "circuit")}
CHECKPOINTS = {dis.opmap[name] for name in ("CALL", "CALL_KW", "CALL_FUNCTION_EX", "RESUME") if name in dis.opmap}
"""Where the interpreter looks for interrupts, beside the beginnings of lines."""


@functools.cache
def _steps(code: CodeType) -> bytes:
    return code.co_code


def interrupted(work: Callable[[], object], step: int) -> bool:
    """Run `work`; an interrupt comes before the n-th line of the core, after the n-th call in it, or after the end.

    Gives whether it came before the end, so that a caller can try every step there is.
    """
    left = step
    former = sys.gettrace()
    after_call = False

    def within(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left, after_call
        if event == "line" or (event == "opcode" and after_call):
            left -= 1
            if left < 0:
                raise Interrupted
        if event == "opcode":
            after_call = _steps(frame.f_code)[frame.f_lasti] in CHECKPOINTS
        return within

    def begun(frame: FrameType, _: str, __: object) -> Any:
        if Path(frame.f_code.co_filename).name not in CORE_FILES:
            return None
        frame.f_trace = within
        frame.f_trace_opcodes = True
        return within

    sys._getframe().f_trace_opcodes = True  # for both lines see tests/conftest.py
    sys.settrace(begun)
    try:
        work()
    except Interrupted:
        return True
    finally:
        sys.settrace(former)
    return False


@pytest.fixture
def desk() -> type[Desk]:
    """Make a coordinator to play with."""
    return Desk


@pytest.fixture
def interrupt() -> Callable[[Callable[[], object], int], bool]:
    """Interrupt some work at a certain step."""
    return interrupted


@pytest.fixture
def gone() -> Callable[[int], bool]:
    """Whether a pid has ended."""
    return is_gone


@pytest.fixture
def client() -> type[Client]:
    """Begin some work in a thread of its own."""
    return Client


@pytest.fixture
def spy() -> type[Spy]:
    """Make a behaviour that keeps what it is told."""
    return Spy


@pytest.fixture
def all_idle(until: Any) -> Callable[[PoolV2, int], None]:
    """Wait until the pool has so many workers, all of them idle."""

    def wait(pool: PoolV2, count: int) -> None:
        until(lambda: [w.state for w in pool.status().workers] == ["idle"] * count, f"{count} workers are idle")

    return wait


@pytest.fixture
def log() -> EventLog:
    """A fresh observer."""
    return EventLog()


@pytest.fixture
def make_pool(family: Callable[[], set[psutil.Process]]) -> Iterator[Callable[..., PoolV2]]:
    """Build pools from options; at the end they are closed, and this process has no child left."""
    pools: list[PoolV2] = []

    def make(observer: Callable[[Event], None] | None = None, behaviour: Any = None, **options: Any) -> PoolV2:
        patient = {"start_timeout_s": HARD_LIMIT_S}  # a busy machine may need longer than a pool allows by default
        config = PoolConfig(**{"workers": 1, **patient, **options})
        pools.append(PoolV2(config, observer=observer, behaviour=behaviour))
        if isinstance(observer, EventLog):
            observer.logs.append(pools[-1]._engine.log)
        return pools[-1]

    yield make
    for pool in pools:
        pool.close(0.0)
    pools.clear()
    gc.collect()
    wait_until(lambda: not family(), "no worker is left behind")


@pytest.fixture
def held_up(monkeypatch: pytest.MonkeyPatch) -> Callable[..., threading.Event]:
    """Hold supervisors up at a step of this kind until the event is set, as if the machine were too busy."""

    def hold(kind: EventKind, *, count: int = 1) -> threading.Event:
        go_on, left = threading.Event(), iter(range(count, 0, -1))
        emit = Supervisor.emit

        def late(supervisor: Supervisor, step: EventKind, *args: Any) -> None:
            emit(supervisor, step, *args)
            if step is kind and next(left, 0) == 1:
                assert go_on.wait(60)

        monkeypatch.setattr(Supervisor, "emit", late)
        return go_on

    return hold


class Meanwhile:
    """A way to wait for a worker whose client does something before it first reads."""

    def __init__(self, io: Any, act: Callable[[], object]) -> None:
        self._io = io
        self._act: Callable[[], object] | None = act

    def read(self, *args: Any) -> Any:
        """See poolproof.bridge.wire.exchange.Io."""
        act, self._act = self._act, None
        if act is not None:
            act()
        return self._io.read(*args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._io, name)


@pytest.fixture
def in_exchange(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int], object]], None]:
    """Have clients do something, in their own thread or task, when a call's request has left; it is told the number."""

    def meanwhile(act: Callable[[int], object]) -> None:
        def late(runtime: Any, io: Any, ticket: Ticket, number: int, *args: Any) -> Steps[Any]:
            return transfer.use(runtime, Meanwhile(io, lambda: act(number)), ticket, number, *args)

        for module in (calls, leases, handover):
            monkeypatch.setattr(module, "use", late)

    return meanwhile


@pytest.fixture
def default_sigint() -> Iterator[None]:
    """Let SIGINT raise KeyboardInterrupt in the main thread, whatever the test runner made of it."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, former)


@pytest.fixture
def pid_of() -> Callable[[PoolV2], int]:
    """The pid of the one worker of a pool, once it is ready."""

    def find(pool: PoolV2) -> int:
        pool.warm_up()
        (worker,) = pool.status().workers
        return worker.pid

    return find


@pytest.fixture
def held(client: type[Client], log: EventLog) -> Callable[[PoolV2, int], tuple[Client, Callable[[], None]]]:
    """Occupy a worker by a call that ends when the returned function is called; the pool's observer must be `log`."""

    def hold(pool: PoolV2, pid: int) -> tuple[Client, Callable[[], None]]:
        sends = len(log.of(EventKind.SEND))
        stop(pid)
        holder = client(pool.execute, "pid", timeout_s=30.0)
        log.wait_for(EventKind.SEND, count=sends + 1)
        return holder, lambda: os.kill(pid, signal.SIGCONT)

    return hold


async def holds_soon(holds: Callable[[], Any], what: str) -> Any:
    """Let the loop go on until `holds` gives something true; fails at the hard limit."""
    deadline = time.monotonic() + HARD_LIMIT_S
    while not (found := holds()):
        assert time.monotonic() < deadline, f"not within {HARD_LIMIT_S} s: {what}"
        await asyncio.sleep(0.001)
    return found


@pytest.fixture
def soon() -> Callable[[Callable[[], Any], str], Coroutine[Any, Any, Any]]:
    """The polling helper of tasks."""
    return holds_soon


@pytest.fixture
def on_loop() -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Run a coroutine on a loop of its own, with a hard limit."""
    return lambda work: asyncio.run(asyncio.wait_for(work, HARD_LIMIT_S))


@pytest.fixture
def make_async_pool(make_pool: Callable[..., PoolV2]) -> Callable[..., AsyncPool]:
    """As `make_pool`, for tasks."""
    return lambda *args, **options: AsyncPool.over(make_pool(*args, **options))

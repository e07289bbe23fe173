"""What the tests of V2 share: pools that are always closed, observers that can be waited for, clients with a limit."""

from __future__ import annotations

import gc
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

from bridge import Event, EventKind, PoolConfig
from pool_v2 import PoolV2

HARD_LIMIT_S = 20.0


class EventLog:
    """An observer that keeps every event; `wait_for` gives the first that fits and fails after the hard limit."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._changed = threading.Condition()

    def __call__(self, event: Event) -> None:
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def of(self, *kinds: EventKind, call: int | None = None) -> list[Event]:
        """The events of these kinds so far, in the order in which they came."""
        with self._changed:
            return [e for e in self.events if e.kind in kinds and (call is None or e.call == call)]

    def wait_for(self, kind: EventKind, *, count: int = 1, **fields: Any) -> Event:
        """Wait for the `count`-th event of this kind whose fields are as given."""

        def found() -> list[Event]:
            return [e for e in self.events if e.kind is kind and all(getattr(e, k) == v for k, v in fields.items())]

        with self._changed:
            assert self._changed.wait_for(lambda: len(found()) >= count, HARD_LIMIT_S), f"no {kind} with {fields}"
            return found()[count - 1]


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


def wait_until(holds: Callable[[], Any], what: str) -> Any:
    """Look until `holds` gives something true; fails at the hard limit."""
    deadline = time.monotonic() + HARD_LIMIT_S
    while not (found := holds()):
        assert time.monotonic() < deadline, f"not within {HARD_LIMIT_S} s: {what}"
        time.sleep(0.002)
    return found


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


@pytest.fixture
def until() -> Callable[[Callable[[], Any], str], Any]:
    """The polling helper."""
    return wait_until


@pytest.fixture
def gone() -> Callable[[int], bool]:
    """Whether a pid has ended."""
    return is_gone


@pytest.fixture
def client() -> type[Client]:
    """Begin some work in a thread of its own."""
    return Client


@pytest.fixture
def log() -> EventLog:
    """A fresh observer."""
    return EventLog()


@pytest.fixture
def make_pool() -> Iterator[Callable[..., PoolV2]]:
    """Build pools from options; at the end they are closed, and this process has no child left."""
    pools: list[PoolV2] = []

    def make(observer: Callable[[Event], None] | None = None, **options: Any) -> PoolV2:
        pools.append(PoolV2(PoolConfig(**{"workers": 1, **options}), observer=observer))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close(0.0)
    pools.clear()
    gc.collect()
    wait_until(lambda: not psutil.Process().children(recursive=True), "no worker is left behind")


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
        os.kill(pid, signal.SIGSTOP)
        holder = client(pool.execute, "pid", timeout_s=30.0)
        log.wait_for(EventKind.SEND, count=sends + 1)
        return holder, lambda: os.kill(pid, signal.SIGCONT)

    return hold

"""What the tests of V1 share: pools that are always closed, observers that can be waited for, clients with a limit."""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

from poolproof.bridge import Event, EventKind, PoolConfig
from poolproof.pool_v1 import PoolV1
from tests.waiting import HANG_GUARD_S, stop, wait_until

HARD_LIMIT_S = HANG_GUARD_S


class EventLog:
    """An observer that keeps every event; `wait_for` gives the n-th of a kind and fails after the hard limit."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._changed = threading.Condition()

    def __call__(self, event: Event) -> None:
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def of(self, *kinds: EventKind) -> list[Event]:
        """The events of these kinds so far, in the order in which they came."""
        with self._changed:
            return [event for event in self.events if event.kind in kinds]

    def wait_for(self, kind: EventKind, *, count: int = 1) -> Event:
        """Wait for the `count`-th event of this kind."""

        def found() -> list[Event]:
            return [event for event in self.events if event.kind is kind]

        with self._changed:
            assert self._changed.wait_for(lambda: len(found()) >= count, HARD_LIMIT_S), f"no {kind}"
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
        self.thread.join(HARD_LIMIT_S)
        assert not self.thread.is_alive(), "a client hangs"
        if self.error is not None:
            raise self.error
        return self.value


@pytest.fixture
def client() -> type[Client]:
    """Begin some work in a thread of its own."""
    return Client


@pytest.fixture
def log() -> EventLog:
    """A fresh observer."""
    return EventLog()


@pytest.fixture
def make_pool(family: Callable[[], set[psutil.Process]]) -> Iterator[Callable[..., PoolV1]]:
    """Build pools from options; at the end they are closed, and this process has no child left."""
    pools: list[PoolV1] = []

    def make(observer: Callable[[Event], None] | None = None, **options: Any) -> PoolV1:
        patient = {"start_timeout_s": HARD_LIMIT_S}  # a busy machine may need longer than a pool allows by default
        pools.append(PoolV1(PoolConfig(**{"workers": 2, **patient, **options}), observer=observer))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close(0.0)
    pools.clear()
    gc.collect()
    wait_until(lambda: not family(), "no worker is left behind")


@pytest.fixture
def busy(client: type[Client], log: EventLog) -> Callable[[PoolV1], tuple[Client, Callable[[], None]]]:
    """Keep the manager at work until the returned function is called; the pool's observer must be `log`."""

    def hold(pool: PoolV1) -> tuple[Client, Callable[[], None]]:
        pid = pool.execute("pid", timeout_s=20.0)["pid"]
        sends = len(log.of(EventKind.SEND))
        stop(pid)
        holder = client(pool.execute, "pid", timeout_s=30.0)
        log.wait_for(EventKind.SEND, count=sends + 1)
        return holder, lambda: os.kill(pid, signal.SIGCONT)

    return hold

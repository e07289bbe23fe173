"""What the tests of the observers share: literal events, and pools of both kinds that are always closed."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

from poolproof.bridge import Event, EventKind, Observer, Pool, PoolConfig
from poolproof.pool_v1 import PoolV1
from poolproof.pool_v2 import PoolV2
from tests.waiting import HANG_GUARD_S, wait_until

HARD_LIMIT_S = HANG_GUARD_S
BASE_NS = 5_000_000_000


def event_at(ms: float, kind: str, call: int | None = None, worker: int | None = None, detail: str = "") -> Event:
    """A literal event, so many milliseconds after some begin; a worker's pid is 900 above its id."""
    pid = None if worker is None else 900 + worker
    return Event(EventKind(kind), BASE_NS + round(ms * 1e6), call, worker, pid, detail)


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
def step() -> Callable[..., Event]:
    """Makes literal events: `step(ms, kind, call, worker, detail)`."""
    return event_at


@pytest.fixture
def served() -> list[Event]:
    """A worker's whole life, in which it served call 1: it waited for 20 ms, was served for 5, and took 30 in all."""
    return [
        event_at(0, "spawn", worker=1),
        event_at(50, "ready", worker=1),
        event_at(100, "enqueue", 1),
        event_at(119, "offer", 1, 1),
        event_at(120, "accept", 1, 1),
        event_at(121, "send", 1, 1),
        event_at(126, "receive", 1, 1),
        event_at(127, "checkin", 1, 1),
        event_at(130, "done", 1, detail="result"),
        event_at(200, "kill", worker=1, detail="retired"),
        event_at(210, "reap", worker=1, detail="exited with status 0"),
        event_at(211, "close"),
    ]


@pytest.fixture
def client() -> type[Client]:
    """Begin some work in a thread of its own."""
    return Client


@pytest.fixture(params=[PoolV1, PoolV2], ids=["v1", "v2"])
def pool_class(request: pytest.FixtureRequest) -> type[PoolV1] | type[PoolV2]:
    """The pool under observation."""
    found: type[PoolV1] | type[PoolV2] = request.param
    return found


@pytest.fixture
def make_pool(
    pool_class: type[PoolV1] | type[PoolV2], family: Callable[[], set[psutil.Process]]
) -> Iterator[Callable[..., Pool]]:
    """Build pools; at the end they are closed, and this process has no child left."""
    pools: list[Pool] = []

    def make(observer: Observer, **options: Any) -> Pool:
        patient = {"start_timeout_s": HARD_LIMIT_S}  # a busy machine may need longer than a pool allows by default
        pools.append(pool_class(PoolConfig(**{"call_timeout_s": 20.0, **patient, **options}), observer=observer))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close(0.0)
    pools.clear()
    gc.collect()
    wait_until(lambda: not family(), "no worker is left behind")

"""One suite over both pools: `make_pool` builds the pool under test, and whatever is built is closed."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

from poolproof.bridge import Event, Pool, PoolConfig
from poolproof.pool_v1 import PoolV1
from poolproof.pool_v2 import PoolV2
from tests.waiting import HANG_GUARD_S, wait_until

HARD_LIMIT_S = HANG_GUARD_S


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


@pytest.fixture(params=[PoolV1, PoolV2], ids=["v1", "v2"])
def pool_class(request: pytest.FixtureRequest) -> type[PoolV1] | type[PoolV2]:
    """The pool under test."""
    found: type[PoolV1] | type[PoolV2] = request.param
    return found


@pytest.fixture
def make_pool(
    pool_class: type[PoolV1] | type[PoolV2], family: Callable[[], set[psutil.Process]]
) -> Iterator[Callable[..., Pool]]:
    """Build pools from options; at the end they are closed, and this process has no child left."""
    pools: list[Pool] = []

    def make(observer: Callable[[Event], None] | None = None, **options: Any) -> Pool:
        config = PoolConfig(**{"workers": 1, "call_timeout_s": 20.0, "start_timeout_s": HARD_LIMIT_S, **options})
        pools.append(pool_class(config, observer=observer))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close(0.0)
    pools.clear()
    gc.collect()
    wait_until(lambda: not family(), "no worker is left behind")

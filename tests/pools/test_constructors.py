"""A constructor that fails leaves no descriptor, thread, name or process, and works when it is tried again."""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from poolproof import AsyncPool, PoolConfig, PoolExecutor, PoolV1, PoolV2
from poolproof.bridge.processes.rundir.base import pools_dir
from tests.waiting import Holdings

NAME = f"constructed-again-{os.getpid()}"
MOST_STEPS = 40


def ignore(event: object) -> None:
    pass


def close(pool: Any) -> None:
    if isinstance(pool, PoolExecutor):
        pool.shutdown()
    elif isinstance(pool, AsyncPool):
        pool.threads.close()
    else:
        pool.close()


MAKES: dict[str, Callable[[], Any]] = {
    "v1": lambda: PoolV1(PoolConfig(name=NAME, workers=1), observer=ignore),
    "v2": lambda: PoolV2(PoolConfig(name=NAME, workers=1, lazy=True)),
    "v2 observed": lambda: PoolV2(PoolConfig(name=NAME, workers=1, lazy=True), observer=ignore),
    "v2 zygote": lambda: PoolV2(PoolConfig(name=NAME, workers=1, zygote=True, worker_cpus=(cpu(),))),
    "tasks": lambda: AsyncPool(PoolConfig(name=NAME, workers=1, lazy=True)),
    "executor": lambda: PoolExecutor(config=PoolConfig(name=NAME, workers=1, lazy=True)),
}


def cpu() -> int:
    return min(os.sched_getaffinity(0))


@pytest.fixture(params=MAKES)
def make(request: pytest.FixtureRequest) -> Callable[[], Any]:
    """Construct a pool."""
    return MAKES[request.param]


def constructions(make: Callable[[], Any], spoil: Callable[[int], None], mend: Callable[[], None]) -> Iterator[int]:
    """Construct with the resource spoilt at each step in turn, until nothing fails; yields the failed steps."""
    close(make())  # whatever is created once in a process
    before = Holdings()
    for step in range(MOST_STEPS):  # each step fails one resource later
        spoil(step)
        try:
            pool = make()
        except (OSError, RuntimeError, ValueError):
            mend()
            before.require_none_gained(collect=True)
            assert [path.name for path in pools_dir().iterdir() if NAME in path.name] == []
            close(make())
            yield step
        else:
            mend()
            close(pool)
            return
    pytest.fail("it never succeeds")


def test_a_thread_that_cannot_be_started_leaves_nothing(
    make: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    start, left = threading.Thread.start, [MOST_STEPS]

    def refuse(thread: threading.Thread) -> None:
        if left[0] == 0:
            raise RuntimeError("can't start new thread")
        left[0] -= 1
        start(thread)

    def spoil(step: int) -> None:
        left[0] = step

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert list(constructions(make, spoil, lambda: spoil(MOST_STEPS)))


def test_a_descriptor_that_cannot_be_opened_leaves_nothing(make: Callable[[], Any]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def spoil(step: int) -> None:
        free = [fd for fd in range(200) if not os.path.exists(f"/proc/self/fd/{fd}")]
        resource.setrlimit(resource.RLIMIT_NOFILE, (free[step], hard))

    def mend() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    try:
        assert list(constructions(make, spoil, mend))
    finally:
        mend()

"""What both pools promise of their life: status, names, the end, and observers that cannot harm them."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from typing import Any

import pytest

from poolproof.bridge import Event, Pool, PoolClosed, PoolConfig, PoolNameConflict, Sent, WorkerCrashed
from poolproof.bridge.processes.rundir.orphans import list_pools
from tests.waiting import Holdings

MakePool = Callable[..., Pool]


def test_the_status_tells_who_serves(make_pool: MakePool) -> None:
    pool = make_pool(workers=2)
    assert pool.warm_up() == 2
    pool.execute("ping")

    status = pool.status()

    assert (status.name, status.version, status.state) == (pool.name, pool.version, "open")
    assert (status.target, status.waiting) == (2, 0)
    assert [worker.state for worker in status.workers] == ["idle", "idle"]
    assert sum(worker.served for worker in status.workers) == 1
    assert pool.health_check().healthy
    assert pool.health_check().live == 2


def test_a_name_has_one_owner_until_it_is_closed(make_pool: MakePool) -> None:
    name = f"twice-{os.getpid()}-{threading.get_ident()}"
    first = make_pool(name=name)

    with pytest.raises(PoolNameConflict, match=name):
        make_pool(name=name)

    assert first.execute("echo", {"value": 1}) == 1
    first.close()
    assert make_pool(name=name).execute("echo", {"value": 2}) == 2


def test_unnamed_pools_never_collide(make_pool: MakePool) -> None:
    pools = [make_pool(lazy=True) for _ in range(10)]

    assert len({pool.name for pool in pools}) == 10


def test_a_closed_pool_refuses_calls_and_tells_that_it_is_closed(make_pool: MakePool) -> None:
    pool = make_pool()
    pid = pool.execute("pid")["pid"]
    pidfd = os.pidfd_open(pid)
    pool.close()
    pool.close()

    assert select.select([pidfd], [], [], 0)[0], "its worker is gone when close returns"
    os.close(pidfd)
    uses: list[Callable[[], Any]] = [
        lambda: pool.execute("ping"),
        lambda: pool.execute_in_session("s", "ping"),
        pool.warm_up,
    ]
    for use in uses:
        with pytest.raises(PoolClosed) as caught:
            use()
        assert caught.value.sent is Sent.NO
    status = pool.status()
    assert (status.state, status.workers, status.waiting) == ("closed", (), 0)
    assert status.statistics.outcomes == {"result": 1, "PoolClosed": 2}
    assert not pool.health_check().healthy
    assert pool.name not in {record.name for record in list_pools()}


def test_the_context_manager_gives_the_pool_and_closes_it(pool_class: Any) -> None:
    with pool_class(PoolConfig(workers=1)) as pool:
        assert pool.execute("echo", {"value": 1}) == 1

    assert pool.status().state == "closed"


def test_opening_and_closing_leaks_no_descriptor_no_thread_and_no_child(make_pool: MakePool) -> None:
    def open_and_close() -> None:
        pool = make_pool(workers=2)
        pool.execute("ping")
        pool.close()

    open_and_close()  # what is made once in a process
    before = Holdings()
    for _ in range(4):
        open_and_close()
        before.require_none_gained()


def test_an_observer_that_raises_harms_no_call(make_pool: MakePool) -> None:
    def raising(event: Event) -> None:
        raise ZeroDivisionError(event.kind)

    pool = make_pool(raising)

    assert [pool.execute("echo", {"value": n}) for n in range(3)] == [0, 1, 2]
    with pytest.raises(WorkerCrashed):
        pool.execute("exit")
    assert pool.execute("echo", {"value": "again"}) == "again"

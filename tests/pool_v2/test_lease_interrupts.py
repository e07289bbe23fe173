"""Ctrl-C at the entry of every function of the pool, in calls and leases: no worker is lost, every call is counted."""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import poolproof.bridge.processes.channel
import poolproof.pool_v2.calls.batch
import poolproof.pool_v2.calls.io
import poolproof.pool_v2.calls.lease
import poolproof.pool_v2.pool
from poolproof import bridge, pool_v2
from poolproof.bridge import CheckoutTimeout
from poolproof.bridge.wire import exchange as bridge_exchange
from poolproof.pool_v2 import PoolV2
from poolproof.pool_v2.calls import calls, handoff, handover, leases, streaming, transfer
from poolproof.pool_v2.core import coordinator
from poolproof.pool_v2.running import housekeeper, runtime

MakePool = Callable[..., PoolV2]
ROOMS = tuple(str(Path(room.__file__ or "").parent) for room in (bridge, pool_v2))


@pytest.fixture(autouse=True)
def quick_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for lost leases more often than a pool does by itself."""
    monkeypatch.setattr(housekeeper, "BEAT_NS", 10_000_000)
    monkeypatch.setattr(leases, "HEARTBEAT_NS", 10_000_000)
    monkeypatch.setattr(coordinator, "HEARTBEAT_NS", 10_000_000)


def interrupted_at(entry: int, work: Callable[[], object]) -> bool:
    """Run `work`; a KeyboardInterrupt comes when the n-th function of the pool is entered. Whether there were so many.

    A thread drives each generator of the pool to its end; only an expression may be finalized in the middle, where the
    interpreter drops what is raised.
    """
    left = entry
    former = sys.gettrace()

    def entered(frame: FrameType, event: str, _: object) -> None:
        nonlocal left
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(ROOMS) and code.co_name != "<genexpr>":
            left -= 1
            if left < 0:
                sys.settrace(None)
                raise KeyboardInterrupt

    sys.settrace(entered)
    try:
        work()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(former)
    return False


SHELL = [
    module.__file__
    for module in (
        *(
            calls,
            transfer,
            runtime,
            handoff,
            poolproof.pool_v2.calls.io,
            poolproof.pool_v2.pool,
            bridge_exchange,
            poolproof.bridge.processes.channel,
        ),
        *(leases, poolproof.pool_v2.calls.lease, streaming, poolproof.pool_v2.calls.batch, handover),
    )
]


def execute(pool: PoolV2) -> None:
    assert pool.execute("echo", {"value": 1}, checkout_timeout_s=30.0) == 1


def lease(pool: PoolV2) -> None:
    with pool.checkout(checkout_timeout_s=30.0) as worker:
        assert worker.execute("echo", {"value": 1}) == 1


def stream(pool: PoolV2) -> None:
    with pool.execute_stream("parts", {"count": 2}, checkout_timeout_s=30.0) as parts:
        assert [part["index"] for part in parts] == [0, 1]


def batch(pool: PoolV2) -> None:
    assert pool.execute_many("echo", [{"value": 1}], checkout_timeout_s=30.0) == [1]


def session(pool: PoolV2) -> None:
    pool.execute_in_session("s", "put", {"key": "k", "value": 1}, checkout_timeout_s=30.0)


def give_up_lease(pool: PoolV2) -> None:
    with pytest.raises(CheckoutTimeout):
        pool.checkout(checkout_timeout_s=0.001)


def give_up_call(pool: PoolV2) -> None:
    with pytest.raises(CheckoutTimeout):
        pool.execute("ping", checkout_timeout_s=0.001)


def give_up_session(pool: PoolV2) -> None:
    with pytest.raises(CheckoutTimeout):
        pool.execute_in_session("s", "put", {"key": "k", "value": 1}, checkout_timeout_s=0.001)


def give_up_stream(pool: PoolV2) -> None:
    with pytest.raises(CheckoutTimeout):
        pool.execute_stream("parts", {"count": 2}, checkout_timeout_s=0.001)


def require_order(pool: PoolV2, until: Any, calls: int, *, idle: int = 1) -> None:
    """So many workers are idle, nobody waits or holds one, and every call has its outcome."""
    core = pool._engine.coordinator
    until(lambda: not core.held and len(core.idle_workers()) >= idle, "workers are idle, or replaced")
    assert pool.status().waiting == 0
    statistics = pool.status().statistics
    assert statistics.in_flight == 0
    assert statistics.submitted == sum(statistics.outcomes.values()) <= calls
    assert set(statistics.outcomes) <= {"result", "Cancelled"}


@pytest.mark.parametrize("work", [execute, lease, stream, batch, session])
def test_an_interrupt_after_any_call_of_the_shell_loses_nothing(
    make_pool: MakePool, until: Any, work: Callable[[PoolV2], None], interrupted_after: Callable[..., bool]
) -> None:
    pool = make_pool(workers=3, zygote=True, session_ttl_s=0.2)
    for step in itertools.count():
        if not interrupted_after(step, lambda: work(pool), SHELL, generators=True):
            break
        work(pool)  # whoever comes next is served
        require_order(pool, until, calls=2 * step + 2)
    assert step > 10, "there were calls to interrupt"
    until(lambda: not pool.sessions(), "no call keeps a session in use for ever")


@pytest.mark.parametrize(
    ("work", "with_hooks"),
    [(execute, False), (execute, True), (lease, True), (stream, False), (stream, True), (batch, False), (batch, True)],
)
def test_an_interrupt_anywhere_with_an_idle_worker_loses_nothing(
    make_pool: MakePool, spy: Any, until: Any, work: Callable[[PoolV2], None], with_hooks: bool
) -> None:
    pool = make_pool(behaviour=spy() if with_hooks else None, workers=3, zygote=True)
    for entry in itertools.count():
        require_order(pool, until, calls=2 * entry)
        if not interrupted_at(entry, lambda: work(pool)):
            break
        work(pool)  # whoever comes next is served
    require_order(pool, until, calls=2 * entry + 1, idle=3)
    assert pool.status().statistics.outcomes["result"] >= entry + 1
    assert entry > 10, "there were functions to interrupt"
    pool.close()
    assert pool.status().workers == ()


@pytest.mark.parametrize("work", [execute, lease])
def test_an_interrupt_anywhere_while_queued_behind_a_holder_loses_nothing(
    make_pool: MakePool, until: Any, client: Any, work: Callable[[PoolV2], None]
) -> None:
    pool = make_pool(zygote=True)
    for entry in itertools.count():
        held, over = threading.Event(), threading.Event()

        def hold(held: threading.Event = held, over: threading.Event = over) -> None:
            with pool.checkout(checkout_timeout_s=30.0):
                held.set()
                until(lambda: pool._engine.coordinator.waiting or over.is_set(), "a client waits")

        holder = client(hold)
        assert held.wait(20)
        more = interrupted_at(entry, lambda: work(pool))
        over.set()
        holder.result()
        require_order(pool, until, calls=entry + 1)
        if not more:
            break
    assert pool.status().statistics.outcomes["result"] >= 1
    assert entry > 10, "there were functions to interrupt"
    execute(pool)


@pytest.mark.parametrize("way", ["entry", "call"])
@pytest.mark.parametrize("give_up", [give_up_lease, give_up_call, give_up_session, give_up_stream])
def test_an_interrupt_anywhere_while_giving_up_leaves_the_queue(
    make_pool: MakePool, until: Any, request: pytest.FixtureRequest, give_up: Callable[[PoolV2], None], way: str
) -> None:
    pool = make_pool(zygote=True, session_ttl_s=0.2)
    with pool.checkout() as worker:
        pid = worker.pid
        for entry in itertools.count():
            if way == "entry":
                more = interrupted_at(entry, lambda: give_up(pool))
            else:
                interrupted_after = request.getfixturevalue("interrupted_after")
                more = interrupted_after(entry, lambda: give_up(pool), SHELL, generators=True)
            until(lambda: pool.status().waiting == 0, "nobody waits")
            assert worker.execute("pid")["pid"] == pid, "its holder does not notice"
            if not more:
                break
    assert entry > 10
    assert pool.execute("pid")["pid"] == pid
    assert pool.status().statistics.in_flight == 0
    until(lambda: not pool.sessions(), "no call keeps a session in use for ever")


def test_an_interrupt_in_a_block_that_goes_on_leaves_its_lease_right(make_pool: MakePool, until: Any) -> None:
    # A program that catches Ctrl-C around one call, within its lease.
    pool = make_pool(zygote=True)
    for entry in itertools.count():
        pool.warm_up()
        with pool.checkout(checkout_timeout_s=30.0) as worker:
            more = interrupted_at(entry, lambda: worker.execute("echo", {"value": "old"}))
            try:
                assert worker.execute("echo", {"value": entry}) == entry
            except bridge.LeaseError:
                assert more, "the interrupt came into an exchange"
        until(pool._engine.coordinator.idle_workers, "the worker is idle, or replaced")
        if not more:
            break
    assert entry > 10
    statistics = pool.status().statistics
    assert statistics.in_flight == 0
    assert set(statistics.outcomes) == {"result", "Cancelled"}

"""V2 and time: what a deadline ends, what it costs, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from poolproof.bridge import CallTimeout, CheckoutTimeout, EventKind, WorkerCrashed
from poolproof.bridge.clock import now_ns
from poolproof.pool_v2 import PoolV2
from poolproof.pool_v2.calls.io import WATCHED_NS
from tests.waiting import stop

MakePool = Callable[..., PoolV2]
LARGER_THAN_A_PIPE = "x" * 1_000_000


def echoes_are_right(pool: PoolV2, count: int = 10) -> bool:
    return [pool.execute("echo", {"value": f"nonce-{i}"}) for i in range(count)] == [f"nonce-{i}" for i in range(count)]


def test_a_deadline_kills_the_worker_and_its_late_answer_reaches_nobody(
    make_pool: MakePool, log: Any, pid_of: Any, gone: Any, until: Any
) -> None:
    pool = make_pool(log)
    pid = pid_of(pool)

    with pytest.raises(CallTimeout, match="did not answer by the call's deadline") as caught:
        pool.execute("sleep", {"seconds": 2.0}, timeout_s=0.1)

    assert (caught.value.sent, caught.value.worker_id) == ("yes", 1)
    until(lambda: gone(pid), "the late worker is dead")
    assert pool.execute("pid")["pid"] != pid
    assert echoes_are_right(pool)
    assert log.wait_for(EventKind.REAP, pid=pid).detail == "was ended by SIGKILL"
    assert pool.status().statistics.outcomes == {"CallTimeout": 1, "result": 11}


def test_a_deadline_ends_the_worker_s_own_children_too(make_pool: MakePool, gone: Any, until: Any) -> None:
    pool = make_pool()
    child = pool.execute("spawn_child", {"seconds": 600})["pid"]
    assert not gone(child)

    with pytest.raises(CallTimeout):
        pool.execute("sleep", {"seconds": 60}, timeout_s=0.1)

    until(lambda: gone(child), "the worker's child has ended")


def test_a_stopped_worker_is_killed_at_the_deadline(make_pool: MakePool, pid_of: Any, gone: Any, until: Any) -> None:
    pool = make_pool()
    pid = pid_of(pool)
    stop(pid)

    with pytest.raises(CallTimeout) as caught:
        pool.execute("ping", timeout_s=0.2)

    assert caught.value.sent == "yes"
    until(lambda: gone(pid), "the stopped worker is dead")
    assert echoes_are_right(pool)


def test_a_write_that_a_stopped_worker_does_not_take_ends_at_the_deadline(
    make_pool: MakePool, log: Any, pid_of: Any, gone: Any, until: Any
) -> None:
    pool = make_pool(log)
    pid = pid_of(pool)
    stop(pid)

    with pytest.raises(CallTimeout, match="did not take the whole request") as caught:
        pool.execute("echo", {"value": LARGER_THAN_A_PIPE}, timeout_s=0.2)

    assert caught.value.sent == "maybe"
    assert log.of(EventKind.SEND) == []
    until(lambda: gone(pid), "the stopped worker is dead")
    assert echoes_are_right(pool)


def test_a_stuck_worker_holds_no_other_call_up(
    make_pool: MakePool, log: Any, client: Callable[..., Any], until: Any
) -> None:
    pool = make_pool(log, workers=2)
    pool.warm_up()
    stuck = client(pool.execute, "sleep", {"seconds": 600}, timeout_s=30.0)
    log.wait_for(EventKind.SEND)

    assert echoes_are_right(pool)
    assert stuck.thread.is_alive(), "the other call still waits"
    assert [worker.state for worker in pool.status().workers].count("leased") == 1


def test_a_wait_for_a_worker_ends_at_its_own_limit_and_disturbs_nobody(
    make_pool: MakePool, log: Any, pid_of: Any, held: Any
) -> None:
    pool = make_pool(log)
    pid = pid_of(pool)
    holder, release = held(pool, pid)

    with pytest.raises(
        CheckoutTimeout, match=r"'ping': no worker of pool '.*' was free before the checkout deadline"
    ) as caught:
        pool.execute("ping", checkout_timeout_s=0.05)

    assert caught.value.sent == "no"
    assert pool.status().waiting == 0
    release()
    assert holder.result()["pid"] == pid
    assert pool.execute("pid")["pid"] == pid


WAIT_S = 2.5
SOON_S = 12.0
"""How late a wait may end on the busiest machine; the supervisor itself looks at least each second."""


def test_a_long_wait_for_a_worker_which_has_no_timer_of_its_own_is_ended_by_the_supervisor(
    make_pool: MakePool, log: Any, pid_of: Any, held: Any, client: Any
) -> None:
    assert WAIT_S * 1e9 > WATCHED_NS
    pool = make_pool(log)
    pid = pid_of(pool)
    holder, release = held(pool, pid)

    def waited_s(way: Callable[..., Any], *args: Any) -> float:
        began_ns = now_ns()
        with pytest.raises(CheckoutTimeout, match="was free before the checkout deadline"):
            way(*args, checkout_timeout_s=WAIT_S)
        return (now_ns() - began_ns) / 1e9

    ways = [
        (pool.execute, "ping"),
        (pool.checkout,),
        (pool.execute_stream, "parts", {"count": 1}),
        (pool.execute_many, "echo", [{"value": 1}]),
        (pool.execute_in_session, "s", "ping"),
    ]
    for waiter in [client(waited_s, *way) for way in ways]:
        assert WAIT_S <= waiter.result() < WAIT_S + SOON_S

    assert pool.status().waiting == 0
    release()
    assert holder.result()["pid"] == pid


def test_the_call_s_deadline_ends_its_wait_for_a_worker_too(
    make_pool: MakePool, log: Any, pid_of: Any, held: Any
) -> None:
    pool = make_pool(log)
    _, release = held(pool, pid_of(pool))

    with pytest.raises(CheckoutTimeout):
        pool.execute("ping", timeout_s=0.05, checkout_timeout_s=600.0)

    release()


def test_the_limit_of_the_wait_does_not_end_a_call_that_has_begun(make_pool: MakePool, pid_of: Any) -> None:
    pool = make_pool()
    pid_of(pool)

    assert pool.execute("sleep", {"seconds": 0.3}, checkout_timeout_s=0.1)["slept_s"] == 0.3


def test_timeouts_that_race_checkins_lose_no_worker_and_no_call(
    make_pool: MakePool, log: Any, client: Callable[..., Any], until: Any
) -> None:
    pool = make_pool(log, workers=2)
    pool.warm_up()

    def work(seed: int) -> int:
        served = 0
        for turn in range(40):
            try:
                pool.execute("sleep", {"seconds": 0.001}, checkout_timeout_s=0.0005 * (1 + (seed + turn) % 5))
                served += 1
            except CheckoutTimeout:
                pass
        return served

    served = sum(c.result() for c in [client(work, seed) for seed in range(8)])

    until(lambda: [w.state for w in pool.status().workers] == ["idle", "idle"], "both workers are idle again")
    statistics = pool.status().statistics
    assert statistics.submitted == 320
    assert statistics.in_flight == 0
    assert statistics.outcomes == {"result": served, "CheckoutTimeout": 320 - served}
    offered = {event.call for event in log.of(EventKind.OFFER)}
    accepted = [event.call for event in log.of(EventKind.ACCEPT)]
    withdrawn = [event.call for event in log.of(EventKind.WITHDRAW)]
    assert len(set(accepted + withdrawn)) == len(accepted + withdrawn) == 320
    assert offered <= set(accepted + withdrawn)
    assert len(log.of(EventKind.CHECKIN)) == len(accepted) == served
    assert len(log.of(EventKind.SPAWN)) == 2


# Crashes.


@pytest.mark.parametrize("status", [0, 1, 7])
def test_a_worker_that_leaves_in_the_middle_of_a_call_is_replaced(make_pool: MakePool, log: Any, status: int) -> None:
    pool = make_pool(log)

    with pytest.raises(WorkerCrashed) as caught:
        pool.execute("exit", {"code": status})

    assert caught.value.sent == "yes"
    assert "leaving in the middle of a call, as asked" in caught.value.stderr_tail
    assert log.wait_for(EventKind.REAP).worker == 1
    assert echoes_are_right(pool)


@pytest.mark.parametrize("kind", ["garbage", "oversize", "not_json", "wrong_id", "truncated"])
def test_a_worker_that_breaks_the_stream_is_never_used_again(make_pool: MakePool, pid_of: Any, kind: str) -> None:
    pool = make_pool()
    pid = pid_of(pool)

    with pytest.raises(WorkerCrashed) as caught:
        pool.execute("bad_frame", {"kind": kind})

    assert caught.value.sent == "yes"
    assert pool.execute("pid")["pid"] != pid
    assert echoes_are_right(pool)

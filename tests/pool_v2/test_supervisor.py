"""V2's supervisor: late news harms nothing, a back-off is never slept through, an observer can do what it likes."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from bridge import CallTimeout, Event, EventKind, WorkerCrashed
from pool_v2 import PoolV2
from pool_v2.coordinator import Effects, Kill, Retire
from pool_v2.supervisor import LONGEST_SLEEP_S, Supervisor

MakePool = Callable[..., PoolV2]


@pytest.mark.parametrize("effect", [Retire(999), Kill(999, "dirty")])
def test_an_order_about_a_worker_that_is_buried_already_is_nothing(make_pool: MakePool, effect: Any) -> None:
    pool = make_pool()

    pool._engine._supervisor.perform((effect,))

    assert pool.execute("echo", {"value": 1}) == 1
    assert pool.warm_up() == 1


def test_a_worker_that_dies_between_its_checkin_and_its_retirement_is_replaced(
    make_pool: MakePool, log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(log, max_requests=1)
    supervisor = pool._engine._supervisor
    perform = supervisor.perform

    def late_perform(effects: Effects) -> None:
        effects = list(effects)
        for effect in effects:
            if isinstance(effect, Retire):  # decided, but not yet told: the worker dies and is buried first
                os.kill(supervisor.channels[effect.worker_id].process.pid, signal.SIGKILL)
                log.wait_for(EventKind.REAP, worker=effect.worker_id)
        perform(effects)

    monkeypatch.setattr(supervisor, "perform", late_perform)

    pids = [pool.execute("pid")["pid"] for _ in range(3)]

    assert len(set(pids)) == 3


def test_a_back_off_that_ends_between_two_looks_is_not_slept_through(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(lazy=True, max_queue=1)
    engine = pool._engine
    supervisor = Supervisor(engine.coordinator, engine._lock, engine.crew, start_timeout_s=1.0, observer=None)
    clock = [1_000_000_000]
    monkeypatch.setattr("pool_v2.supervisor.now_ns", lambda: clock[0])
    engine.coordinator.circuit.failed("mute", clock[0])
    retry_at = engine.coordinator.circuit.retry_at_ns

    clock[0] = retry_at - 1_000_000
    supervisor._start_wanted()
    assert supervisor._sleep_s() == pytest.approx(0.0015)
    clock[0] = retry_at + 1_000_000

    assert supervisor._sleep_s() < 0.1
    supervisor._start_wanted()
    assert supervisor._sleep_s() == LONGEST_SLEEP_S
    supervisor._thread.start()
    supervisor.stop()


def raising(event: Event) -> None:
    raise ZeroDivisionError(f"the observer fails at {event.kind}")


def test_an_observer_that_raises_harms_no_call_and_no_worker(
    make_pool: MakePool, caplog: pytest.LogCaptureFixture, gone: Any, until: Any
) -> None:
    with caplog.at_level(logging.ERROR):
        pool = make_pool(raising, workers=2)
        assert pool.warm_up() == 2
        pids = {worker.pid for worker in pool.status().workers}
        assert {pool.execute("pid")["pid"] for _ in range(4)} == pids
        with pytest.raises(CallTimeout):
            pool.execute("sleep", {"seconds": 60}, timeout_s=0.1)
        with pytest.raises(WorkerCrashed):
            pool.execute("exit")
        assert pool.execute_in_session("s", "append", {"key": "k", "value": 1})["values"] == [1]
        until(lambda: len([w for w in pool.status().workers if w.state == "idle"]) == 2, "both are replaced")
        assert pool.status().statistics.outcomes == {"result": 5, "CallTimeout": 1, "WorkerCrashed": 1}
        pool.close()

    assert pool.status().state == "closed"
    told = {record.exc_info[1].args[0].split()[-1] for record in caplog.records if record.exc_info}
    assert told >= {kind.value for kind in EventKind} - {"offer", "withdraw"}


def test_an_observer_that_raises_at_a_hand_off_leaves_the_waiter_its_worker(
    make_pool: MakePool, client: Any, until: Any, pid_of: Any
) -> None:
    pool = make_pool(raising)
    pid = pid_of(pool)
    os.kill(pid, signal.SIGSTOP)
    calls = [client(pool.execute, "pid", timeout_s=30.0, checkout_timeout_s=30.0) for _ in range(3)]
    until(lambda: pool.status().waiting == 2, "two calls wait")

    os.kill(pid, signal.SIGCONT)

    assert [call.result()["pid"] for call in calls] == [pid] * 3


def test_an_interrupt_in_the_observer_is_raised_and_the_worker_is_checked_in(make_pool: MakePool, until: Any) -> None:
    def interrupted(event: Event) -> None:
        if event.call == 1 and event.kind is EventKind.CHECKIN:
            raise KeyboardInterrupt

    pool = make_pool(interrupted)

    with pytest.raises(KeyboardInterrupt):
        pool.execute("ping")

    assert pool.execute("echo", {"value": 1}, checkout_timeout_s=5.0) == 1
    statistics = pool.status().statistics
    assert (statistics.in_flight, statistics.outcomes) == (0, {"Cancelled": 1, "result": 1})

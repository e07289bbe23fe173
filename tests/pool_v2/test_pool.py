"""V2 behind the interface: starting, warming up, health, the queue's limits, overflow, recycling."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import pytest

from poolproof.bridge import CircuitOpen, ConfigError, EventKind, PoolClosed, QueueFull, StartFailed
from poolproof.bridge.clock import now_ns
from poolproof.pool_v2 import PoolV2

MakePool = Callable[..., PoolV2]
BAD_COMMAND = ("/no/such/program",)
MUTE_COMMAND = ("cat",)  # it answers every frame with one that is no response


def test_an_eager_pool_starts_all_its_workers_without_being_asked(make_pool: MakePool, log: Any) -> None:
    pool = make_pool(log, workers=3)

    log.wait_for(EventKind.READY, count=3)
    assert pool.warm_up() == 3
    assert pool.health_check().healthy


def test_a_lazy_pool_starts_nothing_until_a_call_and_then_one(make_pool: MakePool, log: Any) -> None:
    pool = make_pool(log, workers=3, lazy=True)
    assert pool.status().workers == ()
    assert pool.health_check().healthy

    first = pool.execute("pid")["pid"]
    assert [pool.execute("pid")["pid"] for _ in range(5)] == [first] * 5

    assert len(log.of(EventKind.SPAWN)) == 1


def test_a_lazy_pool_starts_a_second_worker_for_a_concurrent_call(
    make_pool: MakePool, log: Any, held: Callable[..., Any]
) -> None:
    pool = make_pool(log, workers=2, lazy=True)
    pid = pool.execute("pid")["pid"]
    holder, release = held(pool, pid)

    assert pool.execute("pid")["pid"] != pid

    release()
    assert holder.result()["pid"] == pid


@pytest.mark.parametrize(("asked", "ready"), [(1, 1), (2, 2), (None, 3), (9, 3)])
def test_warming_up_starts_as_many_as_asked_and_no_more_than_the_size(
    make_pool: MakePool, asked: int | None, ready: int
) -> None:
    pool = make_pool(workers=3, lazy=True)

    assert pool.warm_up(asked) == ready
    assert len(pool.status().workers) == ready


def test_a_pool_whose_workers_cannot_be_executed_opens_its_circuit_and_says_why(make_pool: MakePool) -> None:
    pool = make_pool(worker_command=BAD_COMMAND, start_failures_to_open=2, circuit_reset_s=60.0)

    with pytest.raises(CircuitOpen, match="/no/such/program"):
        pool.warm_up()
    with pytest.raises(
        CircuitOpen,
        match=r"too many workers failed to start; the last error: "
        ".*/no/such/program",
    ) as caught:
        pool.execute("ping")

    assert caught.value.sent == "no"
    health = pool.health_check()
    assert not health.healthy
    assert health.live == 0
    assert health.reasons[0] == "0 of 1 workers are ready"
    assert "/no/such/program" in health.reasons[1]


def test_a_call_that_waits_is_refused_when_the_circuit_opens(make_pool: MakePool) -> None:
    pool = make_pool(worker_command=BAD_COMMAND, start_failures_to_open=3, circuit_reset_s=60.0)

    with pytest.raises(CircuitOpen):
        pool.execute("ping", checkout_timeout_s=20.0)


def test_a_circuit_closes_when_the_probe_starts_a_worker(make_pool: MakePool, tmp_path: Any, until: Any) -> None:
    program = tmp_path / "worker"
    pool = make_pool(
        worker_command=(str(program),), start_failures_to_open=1, circuit_reset_s=0.05, start_timeout_s=10.0
    )
    until(lambda: pool.health_check().reasons, "the first start fails")
    program.write_text(f"#!/bin/sh\nexec {sys.executable} -m poolproof.bridge.worker.program\n")
    program.chmod(0o700)

    until(lambda: pool.health_check().healthy, "a probe closes the circuit")
    assert pool.execute("echo", {"value": 1}) == 1


def test_a_worker_that_never_answers_fails_its_start_at_the_limit(make_pool: MakePool, log: Any) -> None:
    began_ns = now_ns()
    pool = make_pool(log, worker_command=MUTE_COMMAND, start_timeout_s=0.2)

    with pytest.raises(StartFailed, match=r"0 of 1 workers are ready; worker \d+ .* did not answer its init ping"):
        pool.warm_up()

    spawn = log.wait_for(EventKind.SPAWN)
    kill = log.wait_for(EventKind.KILL, worker=spawn.worker)
    assert kill.detail == "start failed"
    assert kill.at_ns - began_ns >= 0.2e9  # the limit counts from the start, which is noted a moment later
    log.wait_for(EventKind.REAP, worker=spawn.worker)


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (("sh", "-c", "echo sorry >&2; exit 3"), "sorry"),
        (("sh", "-c", "printf '\\377\\377\\377\\377'; sleep 60"), "sent bytes that are not a frame"),
        (("sh", "-c", "exec 1>&-; sleep 60"), "ended its stream"),
        (("sh", "-c", "sleep 60 & exit 3"), "died before it answered"),  # its child holds its stdout open
    ],
)
def test_a_start_that_fails_says_what_the_worker_did(make_pool: MakePool, command: tuple[str, ...], why: str) -> None:
    pool = make_pool(worker_command=command, start_failures_to_open=1, circuit_reset_s=60.0)

    with pytest.raises(CircuitOpen, match=f"(?s)the last error: .*{why}"):
        pool.warm_up()


def test_a_dead_idle_worker_is_replaced_without_a_call_noticing(
    make_pool: MakePool, pid_of: Any, gone: Any, until: Any
) -> None:
    pool = make_pool()
    pid = pid_of(pool)
    os.kill(pid, signal.SIGKILL)
    until(lambda: gone(pid), "the worker is dead")

    assert pool.execute("pid")["pid"] != pid
    assert pool.status().statistics.outcomes == {"result": 1}


def test_a_full_queue_refuses_at_once_and_the_waiter_is_served(
    make_pool: MakePool, log: Any, pid_of: Any, held: Any, client: Any, until: Any
) -> None:
    pool = make_pool(log, max_queue=1)
    holder, release = held(pool, pid_of(pool))
    waiter = client(pool.execute, "echo", {"value": "waited"}, checkout_timeout_s=30.0)
    until(lambda: pool.status().waiting == 1, "a call waits")

    with pytest.raises(QueueFull) as caught:
        pool.execute("ping")

    assert caught.value.sent == "no"
    release()
    assert waiter.result() == "waited"
    assert holder.result()["worker_id"] == 1


def test_waiters_are_served_in_the_order_in_which_they_came(
    make_pool: MakePool, log: Any, pid_of: Any, held: Any, client: Any, until: Any
) -> None:
    pool = make_pool(log)
    _, release = held(pool, pid_of(pool))
    waiters = []
    for place in range(6):
        waiters.append(client(pool.execute, "echo", {"value": place}, checkout_timeout_s=30.0))
        until(lambda place=place: pool.status().waiting == place + 1, "the next call waits")
    arrived = [event.call for event in log.of(EventKind.ENQUEUE)]

    release()

    assert [waiter.result() for waiter in waiters] == list(range(6))
    assert [event.call for event in log.of(EventKind.ACCEPT)] == arrived


def test_overflow_workers_start_for_waiters_and_leave_after_them(
    make_pool: MakePool, log: Any, pid_of: Any, held: Any, until: Any
) -> None:
    pool = make_pool(log, overflow=1)
    pid = pid_of(pool)
    holder, release = held(pool, pid)

    other = pool.execute("pid", checkout_timeout_s=20.0)["pid"]

    assert other != pid
    log.wait_for(EventKind.REAP, pid=other)
    assert log.of(EventKind.KILL)[0].detail == "retired"
    release()
    assert holder.result()["pid"] == pid
    assert [worker.pid for worker in pool.status().workers] == [pid]


def test_a_worker_is_recycled_after_its_requests(make_pool: MakePool, log: Any) -> None:
    pool = make_pool(log, max_requests=2)

    pids = [pool.execute("pid")["pid"] for _ in range(6)]

    assert pids[0] == pids[1] != pids[2] == pids[3] != pids[4] == pids[5]
    assert len(set(pids)) == 3
    assert {event.detail for event in log.of(EventKind.KILL)} == {"retired"}


def test_a_worker_that_does_not_leave_when_asked_is_killed(
    make_pool: MakePool, log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("poolproof.pool_v2.core.actions.RETIRE_GRACE_NS", 200_000_000)
    stays = ("sh", "-c", f"{sys.executable} -m poolproof.bridge.worker.program; sleep 600")
    pool = make_pool(log, max_requests=1, worker_command=stays)
    pool.execute("ping")

    reap = log.wait_for(EventKind.REAP)

    kills = [event for event in log.of(EventKind.KILL) if event.worker == reap.worker]
    assert [event.detail for event in kills] == ["retired", "did not leave in time"]
    assert kills[1].at_ns - kills[0].at_ns >= 0.2e9


def test_an_option_that_makes_no_sense_in_a_call_is_refused_and_not_counted(make_pool: MakePool) -> None:
    pool = make_pool()

    with pytest.raises(ConfigError, match="checkout_timeout_s -1"):
        pool.execute("ping", checkout_timeout_s=-1)

    assert pool.status().statistics.submitted == 0


def test_the_defaults_of_the_configuration_hold_for_calls_that_state_none(make_pool: MakePool, held: Any) -> None:
    pool = make_pool(worker_command=MUTE_COMMAND, checkout_timeout_s=0.05, start_timeout_s=20.0)

    with pytest.raises(TimeoutError, match=r"no worker of pool .* was free before the checkout deadline"):
        pool.execute("ping")


def test_warming_a_closed_pool_up_is_refused(make_pool: MakePool) -> None:
    pool = make_pool()
    pool.warm_up()
    pool.close()

    with pytest.raises(PoolClosed):
        pool.warm_up()


def test_closing_wakes_who_waits_for_the_warm_up(make_pool: MakePool, client: Any, until: Any) -> None:
    pool = make_pool(lazy=True, worker_command=BAD_COMMAND, start_failures_to_open=1000, start_timeout_s=60.0)
    warming = client(pool.warm_up)
    until(lambda: pool.health_check().reasons, "the warm-up has begun")

    pool.close()

    with pytest.raises(PoolClosed):
        warming.result()

"""V1's manager: workers come and go inside its thread, every step is told, and no observer can harm it."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from poolproof.bridge import CommandError, Event, EventKind, StartFailed, WorkerCrashed
from poolproof.pool_v1 import PoolV1

MakePool = Callable[..., PoolV1]
K = EventKind


def kill_and_wait(pid: int) -> None:
    pidfd = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    assert select.select([pidfd], [], [], 20.0)[0], "the worker outlives SIGKILL"
    os.close(pidfd)


def test_a_call_tells_its_steps_in_order(make_pool: MakePool, log: Any) -> None:
    pool = make_pool(log)
    pool.execute("ping")
    pool.close()

    kinds = [event.kind for event in log.events]
    call = [K.ACCEPT, K.SEND, K.RECEIVE, K.CHECKIN, K.DONE]
    assert kinds == [K.ENQUEUE, K.SPAWN, K.READY, *call, K.KILL, K.REAP, K.CLOSE]
    assert [event.call for event in log.of(K.ENQUEUE, *call)] == [1] * 6
    assert len({event.pid for event in log.of(K.SPAWN, K.SEND, K.RECEIVE, K.REAP)}) == 1


def test_calls_take_the_workers_in_turn(make_pool: MakePool) -> None:
    pool = make_pool(workers=3)
    pool.warm_up()

    pids = [pool.execute("pid")["pid"] for _ in range(6)]

    assert len(set(pids)) == 3
    assert pids[:3] == pids[3:]


def test_a_start_that_fails_is_the_call_s_error_and_the_next_call_tries_again(
    make_pool: MakePool, tmp_path: Path
) -> None:
    program = tmp_path / "worker"
    pool = make_pool(worker_command=(str(program), "-m", "poolproof.bridge.worker.program"))
    for _ in range(2):
        with pytest.raises(WorkerCrashed, match="cannot execute") as caught:
            pool.execute("ping")
        assert caught.value.sent == "no"
    assert pool.status().workers == ()

    program.symlink_to(os.path.realpath("/bin/false"))
    with pytest.raises(WorkerCrashed, match=r"died before it answered|ended its stream"):
        pool.execute("ping")
    with pytest.raises(StartFailed):
        pool.warm_up(1)

    assert pool.status().statistics.outcomes == {"WorkerCrashed": 3}


def test_a_worker_that_does_not_answer_its_first_ping_is_ended(make_pool: MakePool, log: Any) -> None:
    pool = make_pool(log, worker_command=("cat",), start_timeout_s=0.2)

    with pytest.raises(StartFailed, match="did not answer its init ping in time"):
        pool.warm_up(1)

    assert [event.kind for event in log.events] == [K.SPAWN, K.KILL, K.REAP]
    assert log.of(K.REAP)[0].at_ns - log.of(K.SPAWN)[0].at_ns >= 0.2e9
    assert pool.status().workers == ()


def test_a_dead_idle_worker_is_told_by_the_health_check_and_replaced_by_the_next_call(make_pool: MakePool) -> None:
    pool = make_pool()
    pid = pool.execute("pid")["pid"]
    assert pool.health_check().healthy
    kill_and_wait(pid)

    health = pool.health_check()
    assert (health.healthy, health.live, health.reasons) == (False, 0, ("worker 1 is dead",))
    assert pool.execute("pid")["pid"] != pid
    assert pool.health_check().healthy


def test_a_worker_that_breaks_off_is_never_used_again(make_pool: MakePool, log: Any) -> None:
    pool = make_pool(log)
    pid = pool.execute("pid")["pid"]

    with pytest.raises(WorkerCrashed) as caught:
        pool.execute("exit", {"code": 4})

    assert caught.value.sent == "yes"
    assert "leaving in the middle of a call" in caught.value.stderr_tail
    assert (log.of(K.KILL)[0].detail, log.of(K.REAP)[0].detail) == ("WorkerCrashed", "exited with status 4")
    assert pool.execute("pid")["pid"] != pid


def test_the_manager_gives_a_silent_worker_up_after_its_own_patience(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch, log: Any
) -> None:
    monkeypatch.setattr("poolproof.pool_v1.manager.OPERATION_TIMEOUT_S", 0.2)
    pool = make_pool(log)
    pid = pool.execute("pid")["pid"]

    with pytest.raises(TimeoutError, match="did not answer by the call's deadline"):
        pool.execute("sleep", {"seconds": 60}, timeout_s=20.0)

    assert log.of(K.KILL)[0].detail == "CallTimeout"
    assert pool.execute("pid")["pid"] != pid


def test_a_command_s_error_is_an_answer_and_keeps_the_worker(make_pool: MakePool) -> None:
    pool = make_pool()
    pid = pool.execute("pid")["pid"]

    with pytest.raises(CommandError, match="no luck") as caught:
        pool.execute("fail", {"message": "no luck"})

    assert caught.value.worker_id == 1
    assert pool.execute("pid")["pid"] == pid
    assert pool.status().workers[0].served == 3


def test_an_observer_that_raises_harms_no_call_and_no_end(make_pool: MakePool, caplog: Any) -> None:
    def raising(event: Event) -> None:
        raise ZeroDivisionError(str(event.kind))

    pool = make_pool(raising)
    pid = pool.execute("pid")["pid"]
    assert pool.execute_in_session("s", "append", {"key": "k", "value": 1})["values"] == [1]
    with pytest.raises(WorkerCrashed):
        pool.execute("exit")
    assert pool.execute("pid")["pid"] != pid
    pool.close()

    assert pool.status().statistics.outcomes == {"result": 3, "WorkerCrashed": 1}
    told = {str(record.exc_info[1]) for record in caplog.records}
    assert told == {kind.value for kind in EventKind} - {"offer", "withdraw"}

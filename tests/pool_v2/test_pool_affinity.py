"""Sessions on more than one worker: affinity, versions, snapshots, expiry, and what stays behind."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import pytest

from poolproof.bridge import SessionLost
from poolproof.bridge.clock import now_ns
from poolproof.pool_v2 import PoolV2
from poolproof.pool_v2.core.ticket import Ticket

MakePool = Callable[..., PoolV2]


@pytest.fixture
def end_session_worker(until: Any) -> Callable[[PoolV2], None]:
    """Kill the worker that has the state of the session `s`, and wait until it is gone."""

    def end(pool: PoolV2) -> None:
        worker_id = next(status.worker_id for status in pool.sessions() if status.session_id == "s")
        pid = next(worker.pid for worker in pool.status().workers if worker.worker_id == worker_id)
        os.kill(pid, signal.SIGKILL)
        until(lambda: all(w.worker_id != worker_id for w in pool.status().workers), "the worker is gone")

    return end


class Occupied:
    """One certain worker, leased to nobody in particular until `release`."""

    def __init__(self, pool: PoolV2, worker_id: int) -> None:
        self._engine = pool._engine
        self._worker = self._engine.coordinator.workers[worker_id]
        self._ticket = Ticket(10**9)
        with self._engine.lock:
            assert self._engine.coordinator.take(self._worker, self._ticket)

    def release(self) -> None:
        with self._engine.lock:
            woken = self._engine.coordinator.put_back(self._ticket, now_ns(), since_ns=now_ns())
        self._engine.supervisor.wake(woken)


def append(pool: PoolV2, value: Any, session: str = "s") -> list[Any]:
    values: list[Any] = pool.execute_in_session(session, "append", {"key": "log", "value": value})["values"]
    return values


def worker_of(pool: PoolV2, session: str = "s") -> int:
    worker_id: int = pool.execute_in_session(session, "pid")["worker_id"]
    return worker_id


def test_strict_affinity_stays_on_its_worker(make_pool: MakePool) -> None:
    pool = make_pool(workers=3)
    assert len({worker_of(pool) for _ in range(6)}) == 1


def test_without_affinity_a_session_meets_its_state_on_every_worker(make_pool: MakePool) -> None:
    pool = make_pool(workers=3, session_affinity="none")
    pool.warm_up()
    for number in range(9):
        assert append(pool, number) == list(range(number + 1))
    assert len({worker_of(pool) for _ in range(6)}) == 3
    assert append(pool, "last") == [*range(9), "last"]


def test_preferred_affinity_moves_only_when_its_worker_is_busy(make_pool: MakePool) -> None:
    pool = make_pool(workers=2, session_affinity="prefer")
    pool.warm_up()
    append(pool, 1)
    home = worker_of(pool)
    assert worker_of(pool) == worker_of(pool) == home

    busy = Occupied(pool, home)
    assert append(pool, 2) == [1, 2]
    assert worker_of(pool) != home
    busy.release()
    assert append(pool, 3) == [1, 2, 3]


def test_sessions_without_affinity_are_right_under_many_threads(make_pool: MakePool, client: Any) -> None:
    pool = make_pool(workers=3, session_affinity="none")

    def work(session: str) -> list[Any]:
        return [append(pool, number, session) for number in range(12)][-1]

    clients = [client(work, f"s{number}") for number in range(5)]
    assert [found.result() for found in clients] == [list(range(12))] * 5
    assert {status.operations for status in pool.sessions()} == {12}
    assert {status.version for status in pool.sessions()} == {12}


def test_a_full_log_becomes_a_snapshot_and_the_session_survives_its_worker(
    make_pool: MakePool, end_session_worker: Callable[[PoolV2], None]
) -> None:
    pool = make_pool(session_log_bytes=900)
    for number in range(40):  # forty requests of some 130 bytes are far more than the log may hold
        append(pool, number)
    pool.execute_in_session("s", "create_program", {"id": "p", "signature": {"inputs": ["q"], "outputs": ["a"]}})
    end_session_worker(pool)

    assert append(pool, "after") == [*range(40), "after"]
    assert pool.execute_in_session("s", "list_programs")["programs"] == ["p"]


def test_a_state_larger_than_the_log_may_be_is_lost_with_its_worker_and_says_so(
    make_pool: MakePool, end_session_worker: Callable[[PoolV2], None]
) -> None:
    pool = make_pool(session_log_bytes=900)
    append(pool, "x" * 2000)
    assert append(pool, "y")[-1] == "y"
    end_session_worker(pool)
    with pytest.raises(SessionLost, match="log had outgrown session_log_bytes"):
        append(pool, "z")


def test_a_worker_without_snapshots_costs_the_session_only_its_survival(
    make_pool: MakePool, end_session_worker: Callable[[PoolV2], None]
) -> None:
    pool = make_pool(session_log_bytes=300, snapshot_commands=None)
    for number in range(6):
        assert append(pool, number) == list(range(number + 1))
    end_session_worker(pool)
    with pytest.raises(SessionLost):
        append(pool, "z")


def test_an_ended_session_is_begun_anew_on_every_worker_that_had_it(make_pool: MakePool) -> None:
    pool = make_pool(workers=3, session_affinity="none")
    for number in range(6):
        append(pool, number)
    assert pool.end_session("s")
    assert pool.sessions() == ()
    for number in range(6):
        assert append(pool, number) == list(range(number + 1))


def test_a_session_whose_end_could_not_be_told_to_its_worker_is_empty_all_the_same(
    make_pool: MakePool,
) -> None:
    pool = make_pool(workers=1, checkout_timeout_s=0.5)
    pool.warm_up()
    append(pool, "old")
    busy = Occupied(pool, worker_of(pool))
    assert pool.end_session("s")
    busy.release()
    assert append(pool, "new") == ["new"]


def test_a_session_that_nobody_uses_expires(make_pool: MakePool, until: Any) -> None:
    pool = make_pool(session_ttl_s=0.3)
    append(pool, "old")
    until(lambda: pool.sessions() == (), "the session has expired")
    told = pool.status().statistics
    assert (told.submitted, told.outcomes) == (1, {"result": 1}), "what the pool does by itself is no call"
    assert append(pool, "new") == ["new"]


def test_a_call_that_no_worker_took_leaves_no_session(make_pool: MakePool) -> None:
    pool = make_pool(workers=1)
    pool.warm_up()
    busy = Occupied(pool, 1)
    with pytest.raises(TimeoutError):
        pool.execute_in_session("s", "ping", checkout_timeout_s=0.05)
    assert pool.sessions() == ()
    busy.release()


def test_a_worker_that_cannot_forget_a_session_is_replaced_when_it_ends(make_pool: MakePool, until: Any) -> None:
    forgetless = (
        "import sys; from poolproof.bridge.worker.handlers import COMMANDS; "
        "from poolproof.bridge.worker.program import main; "
        "del COMMANDS['cleanup_session']; sys.exit(main([]))"
    )
    pool = make_pool(workers=1, worker_command=(sys.executable, "-c", forgetless))
    append(pool, "old")
    assert pool.end_session("s")
    assert not pool.end_session("s")
    assert append(pool, "new") == ["new"]

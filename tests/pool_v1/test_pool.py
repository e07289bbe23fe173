"""V1 behind the interface: serial by design, impatient callers, sessions in the manager, an end that is bounded."""

from __future__ import annotations

import gc
import itertools
import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from poolproof.bridge import CallTimeout, CheckoutTimeout, ConfigError, EventKind, PoolClosed, PoolConfig, WorkerCrashed
from poolproof.bridge.placement import Agents
from poolproof.bridge.processes.rundir.orphans import list_pools
from poolproof.bridge.worker.intervals import read_journals
from poolproof.bridge.worker.journal import JOURNAL_VARIABLE
from poolproof.pool_v1 import PoolV1
from poolproof.pool_v1.pool import UNSUPPORTED
from tests.waiting import stop

MakePool = Callable[..., PoolV1]
LONG_GRACE_S = 60.0


def test_calls_of_many_threads_are_served_one_after_another(
    make_pool: MakePool, tmp_path: Path, client: Callable[..., Any]
) -> None:
    pool = make_pool(env={JOURNAL_VARIABLE: str(tmp_path)})
    assert pool.warm_up() == 2

    for one in [client(pool.execute, "sleep", {"seconds": 0.02}, timeout_s=20.0) for _ in range(8)]:
        one.result()

    served = [interval for interval in read_journals(tmp_path) if interval.command == "sleep"]
    assert len(served) == 8
    assert len({interval.pid for interval in served}) == 2, "two workers, and still one at a time"
    for one, following in itertools.pairwise(served):
        assert one.end_ns is not None
        assert one.end_ns <= following.start_ns


def test_a_worker_starts_with_the_first_call(make_pool: MakePool, log: Any) -> None:
    pool = make_pool(log)
    assert pool.status().workers == ()
    assert log.events == []

    pool.execute("ping")

    assert len(log.of(EventKind.SPAWN)) == 1


def test_warming_up_starts_workers_one_after_another(make_pool: MakePool, log: Any) -> None:
    pool = make_pool(log, workers=3)

    assert [pool.warm_up(2), pool.warm_up(9), pool.warm_up(1)] == [2, 3, 3]
    started = [event.kind for event in log.of(EventKind.SPAWN, EventKind.READY)]
    assert started == [EventKind.SPAWN, EventKind.READY] * 3


def test_a_caller_that_runs_out_of_time_abandons_its_call_and_the_manager_works_on(
    make_pool: MakePool, log: Any, client: Callable[..., Any], busy: Callable[..., Any]
) -> None:
    pool = make_pool(log, call_timeout_s=0.2)
    pool.warm_up(1)
    pid = pool.status().workers[0].pid
    stop(pid)

    with pytest.raises(CallTimeout, match=r"no answer by the deadline; the manager of pool .* works on") as caught:
        pool.execute("pid")

    assert caught.value.sent == "maybe"
    os.kill(pid, signal.SIGCONT)
    log.wait_for(EventKind.CHECKIN)
    assert pool.execute("pid", timeout_s=20.0)["pid"] == pid, "the late answer was read, so the worker is still good"
    assert pool.status().statistics.outcomes == {"CallTimeout": 1, "result": 1}


def test_a_call_that_the_manager_has_not_begun_is_withdrawn_and_never_runs(
    make_pool: MakePool, log: Any, busy: Callable[..., Any]
) -> None:
    pool = make_pool(log)
    holder, release = busy(pool)

    with pytest.raises(CheckoutTimeout, match=r"the manager of pool '.*' was busy until the deadline") as caught:
        pool.execute("put", {"key": "k", "value": 1}, timeout_s=0.05)
    with pytest.raises(CheckoutTimeout):
        pool.execute("put", {"key": "k", "value": 1}, timeout_s=20.0, checkout_timeout_s=0.05)

    assert caught.value.sent == "no"
    assert pool._manager.mailbox.closed is False
    release()
    holder.result()
    assert pool.execute("get", {"key": "k"})["found"] is False


def test_a_call_that_has_begun_is_not_ended_by_the_limit_of_the_wait(make_pool: MakePool) -> None:
    pool = make_pool()
    pool.warm_up(1)

    assert pool.execute("sleep", {"seconds": 0.3}, checkout_timeout_s=0.1)["slept_s"] == 0.3


@pytest.mark.parametrize("ask", ["status", "sessions", "health"])
def test_status_and_sessions_queue_behind_the_running_call(
    make_pool: MakePool, log: Any, client: Callable[..., Any], busy: Callable[..., Any], until: Any, ask: str
) -> None:
    pool = make_pool(log)
    holder, release = busy(pool)
    questions: dict[str, Callable[[], Any]] = {
        "status": lambda: pool.status().state,
        "sessions": pool.sessions,
        "health": lambda: pool.health_check().healthy,
    }
    asker = client(questions[ask])
    until(lambda: len(pool._manager.mailbox) == 1, "the question waits")

    release()

    holder.result()
    assert asker.result() == {"status": "open", "sessions": (), "health": True}[ask]


def test_a_question_that_waits_too_long_is_given_up(make_pool: MakePool, log: Any, busy: Callable[..., Any]) -> None:
    pool = make_pool(log, call_timeout_s=0.3)
    pool.warm_up(1)
    _, release = busy(pool)

    with pytest.raises(CallTimeout, match=r"was busy for 0.3 s"):
        pool.status()
    health = pool.health_check()

    assert (health.healthy, health.live) == (False, 0)
    assert "was busy for 0.3 s" in health.reasons[0]
    assert len(pool._manager.mailbox) == 0, "what was given up does not wait on"
    release()


OTHER_THAN_ITS_DEFAULT: dict[str, object] = {
    "circuit_reset_s": 0.5,
    "min_workers": 1,
    "max_memory_bytes": 2**30,
    "idle_order": "hot",
    "session_affinity": "none",
    "snapshot_commands": None,
    "zygote": True,
    "preload": ("json",),
    "placement": Agents(addresses=("127.0.0.1:1",)),
}


@pytest.mark.parametrize("option", UNSUPPORTED)
def test_an_option_that_only_a_concurrent_pool_could_honour_is_named(option: str) -> None:
    value = OTHER_THAN_ITS_DEFAULT.get(option, 7)

    with pytest.raises(ConfigError, match=f"v1 does not support the option '{option}'"):
        PoolV1(PoolConfig.from_options({option: value}))


# Sessions.


def test_a_session_stays_on_its_worker_and_is_counted(make_pool: MakePool) -> None:
    pool = make_pool()
    pool.warm_up()
    seen = []
    for value in range(4):
        seen.append(pool.execute_in_session("s", "append", {"key": "k", "value": value})["values"])
        pool.execute("ping")

    assert seen == [list(range(n + 1)) for n in range(4)]
    (session,) = pool.sessions()
    assert (session.session_id, session.operations) == ("s", 4)
    assert pool.status().sessions == 1


def test_a_session_s_state_is_lost_in_silence_with_its_worker_as_in_the_original(make_pool: MakePool) -> None:
    pool = make_pool()
    pool.execute_in_session("s", "put", {"key": "k", "value": 1})
    with pytest.raises(WorkerCrashed):
        pool.execute("exit")

    assert pool.execute_in_session("s", "get", {"key": "k"})["found"] is False


def test_operations_are_counted_exactly_under_many_threads(make_pool: MakePool, client: Callable[..., Any]) -> None:
    pool = make_pool()

    def work() -> None:
        for _ in range(20):
            pool.execute_in_session("s", "append", {"key": "k", "value": 1}, timeout_s=20.0)

    for one in [client(work) for _ in range(6)]:
        one.result()

    assert pool.sessions()[0].operations == 120


def test_an_ended_session_is_gone(make_pool: MakePool) -> None:
    pool = make_pool()
    pool.execute_in_session("s", "put", {"key": "k", "value": 1})

    assert pool.end_session("s")
    assert not pool.end_session("s")
    assert pool.sessions() == ()
    assert pool.execute_in_session("s", "get", {"key": "k"})["found"] is False


def test_a_session_whose_worker_cannot_clean_up_still_ends(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool()
    pool.execute_in_session("s", "put", {"key": "k", "value": 1})

    def crashed(*args: Any, **options: Any) -> Any:
        raise WorkerCrashed("it died")

    monkeypatch.setattr(pool, "execute", crashed)

    assert pool.end_session("s")
    assert pool.sessions() == ()


# The end.


def test_closing_refuses_waiters_at_once_and_lets_the_running_call_finish(
    make_pool: MakePool, log: Any, client: Callable[..., Any], busy: Callable[..., Any], until: Any
) -> None:
    pool = make_pool(log)
    holder, release = busy(pool)
    waiters = [client(pool.execute, "ping", timeout_s=LONG_GRACE_S) for _ in range(3)]
    until(lambda: len(pool._manager.mailbox) == 3, "three calls wait")

    closer = client(pool.close, LONG_GRACE_S)

    for waiter in waiters:
        with pytest.raises(PoolClosed, match="was closed before the call began"):
            waiter.result()
    assert closer.thread.is_alive()
    release()
    assert holder.result()["worker_id"] == 1
    closer.result()


def test_a_close_is_bounded_though_a_worker_is_busy(make_pool: MakePool, log: Any, busy: Callable[..., Any]) -> None:
    pool = make_pool(log)
    holder, _ = busy(pool)

    pool.close(0.1)

    with pytest.raises(PoolClosed, match="was closed during the call") as caught:
        holder.result()
    assert caught.value.sent == "yes"
    assert (pool.status().state, pool.status().workers) == ("closed", ())
    assert pool.health_check().healthy is False


def test_a_close_is_bounded_though_a_worker_never_starts(
    make_pool: MakePool, log: Any, client: Callable[..., Any]
) -> None:
    pool = make_pool(log, worker_command=("cat",), start_timeout_s=600.0)
    caller = client(pool.execute, "ping", timeout_s=600.0)
    log.wait_for(EventKind.SPAWN)

    pool.close(0.1)

    with pytest.raises(WorkerCrashed) as caught:
        caller.result()
    assert caught.value.sent == "no"


def test_many_threads_may_close_at_once(make_pool: MakePool, log: Any, client: Callable[..., Any]) -> None:
    pool = make_pool(log)
    pool.execute("ping")

    for closer in [client(pool.close) for _ in range(6)]:
        closer.result()
        assert pool.name not in {record.name for record in list_pools()}, "nobody returns before the end"

    assert len(log.of(EventKind.CLOSE)) == 1


def test_a_close_that_was_interrupted_can_be_done_again(
    make_pool: MakePool, log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(log)
    pool.execute("ping")

    def interrupted(timeout_s: float | None = None) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pool._manager._thread, "join", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pool.close()

    pool.close()

    assert pool.name not in {record.name for record in list_pools()}
    assert len(log.of(EventKind.CLOSE)) == 1


def test_a_pool_that_is_dropped_ends_its_workers(until: Callable[..., Any]) -> None:
    box = [PoolV1(PoolConfig(workers=1))]
    name, pid = box[0].name, box[0].execute("pid")["pid"]
    pidfd = os.pidfd_open(pid)

    box.clear()
    gc.collect()

    until(lambda: select.select([pidfd], [], [], 0)[0], "the worker has ended")
    until(lambda: name not in {record.name for record in list_pools()}, "its name is free")
    until(lambda: not [t for t in threading.enumerate() if t.name == "pool-v1-finalizer"], "nothing runs on")
    os.close(pidfd)


def test_a_pool_that_is_dropped_when_no_thread_can_be_started_ends_its_workers(
    until: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    unraisable: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    monkeypatch.setattr(sys, "excepthook", lambda *args: unraisable.append(args))
    box = [PoolV1(PoolConfig(workers=1))]
    name, pid = box[0].name, box[0].execute("pid")["pid"]
    pidfd = os.pidfd_open(pid)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        box.clear()
        gc.collect()

    until(lambda: select.select([pidfd], [], [], 0)[0], "the worker has ended")
    until(lambda: name not in {record.name for record in list_pools()}, "its name is free")
    os.close(pidfd)
    assert unraisable == []


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # later Pythons warn of every fork beside threads
def test_a_forked_child_that_drops_its_copy_begins_nothing(make_pool: MakePool, until: Callable[..., Any]) -> None:
    box = [PoolV1(PoolConfig(workers=1))]
    pid = box[0].execute("pid")["pid"]

    child = os.fork()
    if child == 0:
        status = 9
        try:
            before = threading.active_count()
            box.clear()
            gc.collect()
            status = threading.active_count() - before
        finally:
            os._exit(status)

    found: list[int] = []

    def ended() -> bool:
        pid, status = os.waitpid(child, os.WNOHANG)
        found.append(status)
        return pid == child

    until(ended, "the child ends")
    assert found[-1] == 0, "as many threads as before"
    assert box[0].execute("pid")["pid"] == pid
    box[0].close()

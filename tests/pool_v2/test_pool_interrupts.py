"""V2 and clients that go away: an interrupt ends a worker in the middle of an exchange, and keeps one at its border."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from poolproof.bridge import EventKind
from poolproof.bridge.processes.process import WorkerProcess
from poolproof.bridge.wire.exchange import Steps, exchange
from poolproof.pool_v2 import PoolV2
from poolproof.pool_v2.calls import handover, transfer
from tests.waiting import stop

MakePool = Callable[..., PoolV2]


def interrupt_main_thread(until: Any) -> None:
    """Send SIGINT once the main thread is blocked; just before it blocks, Python would see the signal only after."""
    main = threading.main_thread()
    assert main.ident is not None
    looks: list[str] = []

    def blocked() -> bool:
        looks.append(Path(f"/proc/self/task/{main.native_id}/stat").read_text().rpartition(")")[2].split()[0])
        return looks[-15:] == ["S"] * 15

    until(blocked, "the main thread is blocked")
    signal.pthread_kill(main.ident, signal.SIGINT)


def interrupt_thread(thread: threading.Thread, error: type[BaseException]) -> None:
    """Raise `error` in a thread at its next step."""
    assert thread.ident is not None
    assert ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(error)) == 1


def all_idle(pool: PoolV2) -> bool:
    return {worker.state for worker in pool.status().workers} == {"idle"}


@pytest.mark.usefixtures("default_sigint")
def test_ctrl_c_in_the_middle_of_a_call_ends_its_worker_and_is_raised_unchanged(
    make_pool: MakePool, log: Any, client: Callable[..., Any], gone: Any, until: Any
) -> None:
    pool = make_pool(log)
    pool.warm_up()

    def interrupt() -> int:
        pid = log.wait_for(EventKind.SEND).pid
        interrupt_main_thread(until)
        return int(pid)

    helper = client(interrupt)
    with pytest.raises(KeyboardInterrupt):
        pool.execute("sleep", {"seconds": 600}, timeout_s=600.0)

    pid = helper.result()
    until(lambda: gone(pid), "the worker of the interrupted call is dead")
    assert pool.execute("pid")["pid"] != pid
    assert [pool.execute("echo", {"value": n}) for n in range(10)] == list(range(10))
    assert pool.status().statistics.outcomes == {"Cancelled": 1, "result": 11}
    assert log.wait_for(EventKind.KILL, pid=pid).detail == "dirty"


@pytest.mark.usefixtures("default_sigint")
def test_ctrl_c_while_waiting_leaves_the_queue_and_harms_nobody(
    make_pool: MakePool, log: Any, pid_of: Any, held: Any, client: Callable[..., Any], until: Any
) -> None:
    pool = make_pool(log)
    pid = pid_of(pool)
    holder, release = held(pool, pid)

    def interrupt() -> None:
        until(lambda: pool.status().waiting == 1, "the main thread waits")
        interrupt_main_thread(until)

    helper = client(interrupt)
    with pytest.raises(KeyboardInterrupt):
        pool.execute("ping", checkout_timeout_s=60.0, timeout_s=60.0)
    helper.result()

    assert pool.status().waiting == 0
    assert log.of(EventKind.WITHDRAW)[0].call == 2
    release()
    assert holder.result()["pid"] == pid
    assert pool.execute("pid")["pid"] == pid


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_is_raised_into_a_client_s_thread_in_an_exchange_ends_its_worker(
    make_pool: MakePool,
    log: Any,
    client: Callable[..., Any],
    gone: Any,
    until: Any,
    error: type[BaseException],
) -> None:
    pool = make_pool(log, workers=2)
    pool.warm_up()
    pids = [worker.pid for worker in pool.status().workers]
    for each in pids:
        stop(each)
    caller = client(pool.execute, "ping")
    pid = log.wait_for(EventKind.SEND).pid

    interrupt_thread(caller.thread, error)
    for each in pids:
        os.kill(each, signal.SIGCONT)

    with pytest.raises(error):
        caller.result()
    until(lambda: gone(pid), "the worker of the interrupted call is dead")
    until(lambda: len(pool.status().workers) == 2 and all_idle(pool), "it is replaced")
    assert pid not in {worker.pid for worker in pool.status().workers}
    assert pool.status().statistics.outcomes == {"Cancelled": 1}


def test_an_exception_at_the_border_of_a_frame_keeps_the_worker(
    make_pool: MakePool, pid_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool()
    pid = pid_of(pool)

    take: Any = vars(transfer)["take"]

    def interrupted(*args: Any) -> Any:
        if take(*args) is not None:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(transfer, "take", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pool.execute("ping")

    assert pool.execute("pid")["pid"] == pid


@pytest.mark.parametrize("repeated", [0, 1])
@pytest.mark.parametrize("answered", [False, True])
def test_an_interrupt_in_a_handover_leaves_no_half_state_behind(
    make_pool: MakePool, log: Any, monkeypatch: pytest.MonkeyPatch, repeated: int, answered: bool
) -> None:
    pool = make_pool(log)
    for value in range(3):
        pool.execute_in_session("s", "append", {"key": "k", "value": value})
    os.kill(pool.status().workers[0].pid, signal.SIGKILL)
    log.wait_for(EventKind.REAP)
    pool.warm_up()
    turns = iter(range(10))

    def interrupted(*args: Any, **options: Any) -> Steps[Any]:
        now = next(turns) == repeated
        if now and not answered:
            raise KeyboardInterrupt
        response = yield from exchange(*args, **options)
        if now:
            raise KeyboardInterrupt
        return response

    with monkeypatch.context() as patch:
        patch.setattr(handover, "exchange", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pool.execute_in_session("s", "get", {"key": "k"})

    assert pool.execute_in_session("s", "get", {"key": "k"})["value"] == [0, 1, 2]


def test_an_interrupt_while_a_dirty_worker_is_killed_never_checks_it_in(
    make_pool: MakePool, pid_of: Any, gone: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool()
    pid = pid_of(pool)
    main = threading.get_ident()
    kill = WorkerProcess.kill

    def interrupted(self: WorkerProcess) -> None:
        if threading.get_ident() == main:
            raise KeyboardInterrupt
        kill(self)

    with monkeypatch.context() as patch:
        patch.setattr(WorkerProcess, "kill", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pool.execute("bad_frame", {"kind": "wrong_id"})

    until(lambda: gone(pid), "the late worker is dead")
    assert pool.execute("pid")["pid"] != pid

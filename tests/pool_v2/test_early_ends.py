"""Workers that answer their init ping and end at once; and that nothing makes the supervisor wait."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from poolproof.bridge import CallTimeout, CircuitOpen, Event, EventKind, WorkerCrashed
from poolproof.pool_v2 import PoolV2
from poolproof.pool_v2.core.circuit import EARLY_S
from poolproof.pool_v2.core.replacement import FREE_EARLY_ENDS
from tests.waiting import stop, wait_until

MakePool = Callable[..., PoolV2]
SHORT_LIVED = """
import os, sys
from poolproof.bridge.wire.framing import encode_frame
from poolproof.bridge.wire.messages import decode_request, encode_success
request = decode_request(os.read(0, 65536)[4:])
os.write(2, b"the licence has expired\\n")
os.write(1, encode_frame(encode_success(request.id, "ok"), limit_bytes=65536))
os._exit(7)
"""
READS_AND_EXITS = """
os.read(0, 65536)
os._exit(7)
"""
S = 1_000_000_000


def test_a_command_that_answers_its_ping_and_exits_is_backed_off_from_and_health_says_why(make_pool: MakePool) -> None:
    started: list[Event] = []
    config = {"workers": 2, "start_failures_to_open": 3, "circuit_reset_s": 600.0}
    pool = make_pool(started.append, worker_command=(sys.executable, "-c", SHORT_LIVED), **config)
    wait_until(lambda: pool._engine.coordinator.circuit.tripped, "the circuit is open")
    health = pool.health_check()
    assert not health.healthy
    assert "exited with status 7 before it had answered a call\nthe licence has expired" in health.reasons[-1]
    with pytest.raises(CircuitOpen, match="exited with status 7 before it had answered a call"):
        pool.execute("echo", {"value": 1})
    pool.close()
    begun = sum(event.kind is EventKind.SPAWN for event in started)
    assert begun <= 2 * FREE_EARLY_ENDS + 3 + 1, "two beside each other, and then one by one"


def test_a_command_that_exits_in_its_first_call_is_backed_off_from_too(make_pool: MakePool) -> None:
    config = {"workers": 1, "start_failures_to_open": 2, "circuit_reset_s": 600.0}
    pool = make_pool(
        worker_command=(sys.executable, "-c", SHORT_LIVED.replace("os._exit(7)", READS_AND_EXITS)), **config
    )
    for _ in range(FREE_EARLY_ENDS + 2):
        with pytest.raises(WorkerCrashed):
            pool.execute("echo", {"value": 1}, checkout_timeout_s=30.0)
    wait_until(lambda: pool._engine.coordinator.circuit.tripped, "the circuit is open")
    with pytest.raises(CircuitOpen, match="exited with status 7 before it had answered a call"):
        pool.execute("echo", {"value": 1})


def test_workers_that_are_killed_from_outside_before_their_first_call_are_replaced_at_once(make_pool: MakePool) -> None:
    pool = make_pool(workers=2, start_failures_to_open=1, circuit_reset_s=600.0)
    for _ in range(FREE_EARLY_ENDS):
        pool.warm_up(2)
        killed = [worker.pid for worker in pool.status().workers]
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda killed=killed: not {w.pid for w in pool.status().workers} & {*killed}, "both are gone")  # type: ignore[misc]
    assert pool.warm_up(2) == 2
    assert pool._engine.coordinator.circuit.failures == 0


def spoil(pool: Any, *, times: int, now_ns: int) -> None:
    """Start worker 99 at `now_ns`, let it end early, and release it; all that so many times."""
    for _ in range(times):
        pool.start(99, now_ns)
        pool.end_of(pool.worker(99), now_ns, "why")
        pool.core.released(pool.worker(99))


def fresh(desk: Any, *, workers: int = 1, ready: int = 1) -> Any:
    """Return a pool whose next early end is one too many."""
    pool = desk(workers=workers, ready=ready, failures_to_open=3)
    pool.core.circuit.early_ends = FREE_EARLY_ENDS * workers
    return pool


@pytest.mark.parametrize("free", [0, 1, 3])
def test_so_many_early_ends_are_free_for_each_place_of_the_pool(desk: Any, free: int) -> None:
    pool = desk(workers=2, ready=1, failures_to_open=3)
    spoil(pool, times=2 * FREE_EARLY_ENDS - free, now_ns=S)
    assert pool.core.circuit.failures == 0
    spoil(pool, times=free + 1, now_ns=S)
    assert (pool.core.circuit.failures, pool.core.circuit.last_error) == (1, "why")


@pytest.mark.parametrize("held", [False, True])
def test_an_end_in_the_first_call_is_as_early_as_one_while_idle(desk: Any, held: bool) -> None:
    pool = fresh(desk)
    worker = pool.worker(1)
    ticket = pool.lease(1) if held else None
    pool.core.exited(worker, worker.idle_since_ns + 1, unreaped=True)
    if ticket is not None:
        pool.leave(ticket, clean=False)
    pool.core.reaped(worker, worker.idle_since_ns + 1, "why")
    assert (worker.served, pool.core.circuit.failures) == (0, 1)


def test_an_end_that_the_pool_has_caused_is_not_early(desk: Any) -> None:
    for cause in ("told_ns", "term_deadline_ns", "overdue", ""):
        pool = fresh(desk)
        worker = pool.worker(1)
        if cause:
            setattr(worker, cause, 1)
        pool.end_of(worker, worker.idle_since_ns + 1, "why" if cause else "")
        assert pool.core.circuit.failures == 0, cause


def test_an_end_is_not_early_if_a_call_was_answered(desk: Any) -> None:
    pool = fresh(desk)
    worker = pool.worker(1)
    pool.leave(pool.lease(1), clean=True)
    pool.end_of(worker, worker.idle_since_ns + 1, "why")
    assert (pool.core.circuit.failures, pool.core.circuit.last_error) == (0, "")


@pytest.mark.parametrize(("after_s", "failures"), [(EARLY_S - 0.1, 1), (EARLY_S, 0)])
def test_an_end_is_early_within_a_second(desk: Any, after_s: float, failures: int) -> None:
    pool = fresh(desk)
    worker = pool.worker(1)
    pool.end_of(worker, worker.idle_since_ns + int(after_s * S), "why")
    assert pool.core.circuit.failures == failures


@pytest.mark.parametrize("proof", ["a call", "a second"])
def test_a_worker_that_serves_or_stays_is_the_proof_that_starts_succeed_again(desk: Any, proof: str) -> None:
    pool = desk(workers=3, ready=2, failures_to_open=2)
    old = pool.worker(2)
    spoil(pool, times=3 * FREE_EARLY_ENDS + 1, now_ns=2 * S)
    old.served = 5
    pool.core.plan(2 * S + 2)
    assert pool.core.circuit.failures == 1, "a worker that was started before proves nothing"
    second = pool.core.started(30, 2 * S + 2)
    pool.core.ready(second, 2 * S + 3)
    if proof == "a call":
        second.served = 1
        pool.core.plan(second.idle_since_ns + 3)
    else:
        assert pool.core.watch_ns <= second.idle_since_ns + int(EARLY_S * S), "it looks again then"
        pool.core.plan(second.idle_since_ns + int(EARLY_S * S))
    assert (pool.core.circuit.early_ends, pool.core.circuit.failures) == (0, 0)


def test_a_worker_that_was_started_before_the_last_failed_start_does_not_end_its_back_off(desk: Any) -> None:
    pool = desk(workers=3, ready=1)
    spoil(pool, times=1, now_ns=S)
    pool.start(2, 2 * S)
    pool.core.start_failed(pool.core.started(3, 2 * S + 1), "no such program", 2 * S + 2)
    pool.leave(pool.lease(2), 2 * S + 3)
    pool.plan(2 * S + 3)
    assert (pool.core.circuit.failures, pool.core.circuit.early_ends) == (1, 1)


def test_a_poisonous_call_among_good_ones_does_not_open_the_circuit(desk: Any) -> None:
    """It ends a new worker again and again; others, which were started after the first of these, serve."""
    pool = desk(workers=2, failures_to_open=1)
    for call in range(20):
        spoil(pool, times=2, now_ns=call * S + 1)
        pool.start(call, call * S + 2)
        pool.leave(pool.lease(call))
        spoil(pool, times=FREE_EARLY_ENDS, now_ns=call * S + 3)
        pool.end(call, call * S + 3)
    assert pool.core.circuit.failures == 0


class Waits:
    """The waits with a time limit that the supervisor's thread has made."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def note(self, what: str, timeout_s: float | None) -> None:
        if threading.current_thread().name.endswith("-supervisor") and timeout_s != 0:
            self.seen.append(f"{what} {timeout_s}")


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    """Note each wait for an event, a queue or a time; the supervisor should only wait in its watch."""
    waits, wait, sleep = Waits(), threading.Event.wait, __import__("time").sleep

    class Queue:
        def __init__(self) -> None:
            self._queue: SimpleQueue[Any] = SimpleQueue()
            self.put, self.get_nowait = self._queue.put, self._queue.get_nowait

        def get(self, timeout: float | None = None) -> Any:
            waits.note("queue", timeout)
            return self._queue.get(timeout=timeout)

    def noted_wait(event: threading.Event, timeout: float | None = None) -> bool:
        waits.note("event", timeout)
        return wait(event, timeout)

    def noted_sleep(seconds: float) -> None:
        waits.note("sleep", seconds)
        sleep(seconds)

    monkeypatch.setattr(threading.Event, "wait", noted_wait)
    monkeypatch.setattr("time.sleep", noted_sleep)
    for module in ("forked", "zygote"):
        monkeypatch.setattr(f"poolproof.bridge.processes.zygote.{module}.SimpleQueue", Queue)
    return waits


def test_failing_starts_whose_stderr_a_stranger_holds_make_the_supervisor_wait_for_nothing(
    make_pool: MakePool, tmp_path: Path, waits: Waits
) -> None:
    """One worker is sound; each further start fails, and leaves a process that holds its stderr."""
    script = f'[ "$0" = 1 ] && exec {sys.executable} -P -m poolproof.bridge.worker.program --worker-id 1\n'
    script += "setsid sleep 1 &\nexit 3"
    pool = make_pool(
        workers=2,
        worker_command=("sh", "-c", script, "{worker_id}"),
        start_failures_to_open=1000,
        env=dict(os.environ),
    )
    circuit = pool._engine.coordinator.circuit
    wait_until(lambda: circuit.failures >= 2 and pool.status().workers, "starts fail beside a worker")
    wait_until(lambda: pool.execute("echo", {"value": 1}) == 1, "one worker serves")
    with pytest.raises((CallTimeout, CircuitOpen)):
        pool.execute("sleep", {"seconds": 60.0}, timeout_s=0.2)
    assert waits.seen == []
    assert "exited with status 3" in circuit.last_error


def test_a_stopped_zygote_makes_the_supervisor_wait_for_nothing(make_pool: MakePool, waits: Waits) -> None:
    """Neither for the exit status of a dead worker nor for the pid of a new one."""
    pool = make_pool(workers=2, zygote=True)
    pool.warm_up(2)
    zygote = pool._engine.process_manager.zygote  # type: ignore[attr-defined]
    stop(zygote.pid)
    try:
        dead = pool.status().workers[0]
        os.kill(dead.pid, signal.SIGKILL)
        wait_until(lambda: dead.worker_id not in pool._engine.coordinator.workers, "the dead worker is released")
        with pytest.raises(CallTimeout):
            pool.execute("sleep", {"seconds": 60.0}, timeout_s=0.2)
    finally:
        os.kill(zygote.pid, signal.SIGCONT)
    assert pool.execute("echo", {"value": 1}, checkout_timeout_s=30.0) == 1
    assert waits.seen == []


@pytest.mark.parametrize("held", [False, True])
def test_an_ended_worker_keeps_its_place_until_it_is_reaped(desk: Any, held: bool) -> None:
    pool = desk(workers=1, ready=1)
    worker, now_ns = pool.worker(1), 5 * S
    ticket = pool.lease(1) if held else None
    pool.core.exited(worker, now_ns, unreaped=True)
    if ticket is not None:
        pool.leave(ticket, now_ns, clean=False)
    assert pool.plan(now_ns) == [], "neither a replacement nor a burial"
    pool.core.reaped(worker, now_ns, "")
    assert pool.core.attention
    assert set(pool.plan(now_ns)) == {("start", None), ("release", 1)}

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

from poolproof.bridge import CallTimeout, CircuitOpen, Event, EventKind
from poolproof.pool_v2 import PoolV2
from poolproof.pool_v2.core.circuit import EARLY_S
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
S = 1_000_000_000


def test_a_command_that_answers_its_ping_and_exits_is_backed_off_from_and_health_says_why(make_pool: MakePool) -> None:
    started: list[Event] = []
    config = {"workers": 2, "start_failures_to_open": 3, "circuit_reset_s": 600.0}
    pool = make_pool(started.append, worker_command=(sys.executable, "-c", SHORT_LIVED), **config)
    wait_until(lambda: pool._engine.coordinator.circuit.tripped, "the circuit is open")
    health = pool.health_check()
    assert not health.healthy
    assert "exited with status 7 before its first call\nthe licence has expired" in health.reasons[-1]
    with pytest.raises(CircuitOpen, match="exited with status 7 before its first call"):
        pool.execute("echo", {"value": 1})
    pool.close()
    assert sum(event.kind is EventKind.SPAWN for event in started) <= 4, "two beside each other, and then one by one"


def test_an_early_end_counts_only_if_no_call_was_served(desk: Any) -> None:
    pool = desk(workers=1, ready=1, failures_to_open=2)
    worker = pool.worker(1)
    pool.leave(pool.lease(1), clean=True)
    pool.end_of(worker, worker.idle_since_ns + 1, "why")
    assert (pool.core.circuit.failures, pool.core.circuit.last_error) == (0, "")


@pytest.mark.parametrize(("after_s", "failures"), [(EARLY_S - 0.1, 1), (EARLY_S, 0)])
def test_an_end_is_early_within_a_second(desk: Any, after_s: float, failures: int) -> None:
    pool = desk(workers=1, ready=1, failures_to_open=2)
    worker = pool.worker(1)
    pool.end_of(worker, worker.idle_since_ns + int(after_s * S), "why")
    assert pool.core.circuit.failures == failures


@pytest.mark.parametrize("proof", ["a call", "a second"])
def test_a_worker_that_serves_or_stays_is_the_proof_that_starts_succeed_again(desk: Any, proof: str) -> None:
    pool = desk(workers=2, ready=2, failures_to_open=2)
    first, old = pool.worker(1), pool.worker(2)
    pool.end_of(first, first.idle_since_ns + 1, "why")
    old.served = 5
    pool.core.plan(first.idle_since_ns + 2)
    assert pool.core.circuit.doubtful, "a worker that was started before proves nothing"
    second = pool.core.started(3, first.idle_since_ns + 2)
    pool.core.ready(second, first.idle_since_ns + 3)
    if proof == "a call":
        second.served = 1
        pool.core.plan(second.idle_since_ns + 3)
    else:
        assert pool.core.watch_ns <= second.idle_since_ns + int(EARLY_S * S), "it looks again then"
        pool.core.plan(second.idle_since_ns + int(EARLY_S * S))
    assert (pool.core.circuit.doubtful, pool.core.circuit.failures) == (False, 0)


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
        monkeypatch.setattr(f"poolproof.bridge.processes.{module}.SimpleQueue", Queue)
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
        wait_until(lambda: dead.worker_id not in pool._engine.coordinator.workers, "the dead worker is buried")
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
    assert set(pool.plan(now_ns)) == {("start", None), ("bury", 1)}

"""Lifecycle tests of workers that do not start: programs that exit at once, and workers that never answer.

Each test knows only the common interface, and checks one guarantee.
"""

from __future__ import annotations

import contextlib
import threading
import time

import msgspec
import psutil

from poolproof.bridge import CircuitOpen, PoolError
from poolproof.bridge.config import DEFAULT_WORKER_COMMAND
from poolproof.harness.faults.faulty_worker import wrap
from poolproof.harness.model.checker import Finding
from poolproof.harness.model.fault import Fault, FaultKind, FaultRecord
from poolproof.harness.mutation.lifecycle_tests.lifecycle_test import (
    LOOK_EVERY_S,
    Bench,
    LifecycleTest,
    claim,
    lifecycle_test,
    lives,
    wait_until,
)
from poolproof.harness.mutation.mutant import BOTH, V2

START_LIMIT_S = 2.0
START_SLACK_S = 1.0
GONE_WITHIN_S = 5.0
MOST_STARTS = 10


def broken_start(bench: Bench) -> list[Finding]:
    """The worker's program cannot run; starts must back off, and the circuit must open."""
    began = time.monotonic()
    starts_file = bench.folder / "starts"
    command = ("sh", "-c", 'echo >> "$0"; exit 1', str(starts_file))
    pool = bench.make(workers=1, worker_command=command, start_failures_to_open=3, circuit_reset_s=5.0)
    error: BaseException | None = None
    try:
        pool.execute("ping", timeout_s=4.0)
    except PoolError as raised:
        error = raised
    finally:
        took_s = time.monotonic() - began
        pool.close()
    starts = len(starts_file.read_bytes()) if starts_file.exists() else 0
    opened = isinstance(error, CircuitOpen)
    return [
        claim("starts_back_off", ("G13",), starts <= MOST_STARTS, f"{starts} starts in {took_s:.2f} s"),
        claim("circuit_opens", ("G13",), opened, f"after three failures in a row a call ended in {error!r:.100}"),
    ]


def silent_start(bench: Bench) -> list[Finding]:
    """A worker sends other frames in place of its init answer; the pool must still end it in time."""
    noise, told_in = Fault(kind=FaultKind.MUTE_START), bench.folder / "starts.jsonl"
    seen: list[tuple[float, float]] = []
    watch = threading.Thread(target=_watch_first_child, args=(seen,), daemon=True)
    watch.start()
    pool = bench.make(
        workers=1, worker_command=wrap(DEFAULT_WORKER_COMMAND, (noise,), str(told_in)), start_timeout_s=START_LIMIT_S
    )
    with contextlib.suppress(PoolError):
        pool.execute("ping", timeout_s=2 * START_LIMIT_S + START_SLACK_S)
    pool.close(0.2)
    watch.join(GONE_WITHIN_S)
    if not seen:
        return [claim("bounded_start", ("G13",), None, "no worker was started")]
    born, ended = seen[0]
    took_s = ended - born
    holds = 0.9 * START_LIMIT_S <= took_s <= 1.1 * START_LIMIT_S + START_SLACK_S
    told = f"a worker that never answered was given up after {took_s:.2f} s; the limit is {START_LIMIT_S:g} s"
    records = told_in.read_bytes().splitlines() if told_in.exists() else []
    begun_ns = msgspec.json.decode(records[0], type=FaultRecord).at_ns if records else None
    if begun_ns is None or begun_ns / 1e9 > born + 0.8 * START_LIMIT_S:
        return [claim("bounded_start", ("G13",), None, f"{told}; it was too slow to send anything by then")]
    return [claim("bounded_start", ("G13",), holds, told)]


def _watch_first_child(seen: list[tuple[float, float]]) -> None:
    # Notes when this process got its first new child, and when that child ended; infinite if it has not ended.
    this = psutil.Process()
    before = {child.pid for child in this.children()}
    until = time.monotonic() + 4 * START_LIMIT_S
    while time.monotonic() < until:
        if found := [child for child in this.children() if child.pid not in before]:
            born = time.monotonic()
            gone = wait_until(lambda: not lives(found[0].pid), until - born)
            seen.append((born, time.monotonic() if gone else float("inf")))
            return
        time.sleep(LOOK_EVERY_S)


START_DRILLS: tuple[LifecycleTest, ...] = (
    lifecycle_test(broken_start, ("G13",), (V2,)),
    lifecycle_test(silent_start, ("G13",), BOTH),
)

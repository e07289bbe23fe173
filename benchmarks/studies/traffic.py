"""What recording costs and how punctual a replay is: `python -m benchmarks.studies.traffic [--quick]`."""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

from benchmarks.studies.migration import ARGS, nothing, seconds_of
from poolproof.bridge import Pool, PoolConfig
from poolproof.bridge.recording import Call, RecordingPool
from poolproof.harness.history.stats import paired_ratio, quantile
from poolproof.harness.traffic.replay import replay
from poolproof.pool_v2 import PoolV2

CLIENTS = 8
BLOCK_S = 0.5
RATE = 500


def overhead(folder: Path, pairs: int) -> None:
    """Print the microseconds of the caller's processor time that recording adds to a call."""
    direct = nothing()
    found = []
    for number in range(pairs):
        with_recording = RecordingPool(nothing(), folder / f"o{number}.rec")
        one, other = (
            seconds_of(partial(pool.execute, "echo", ARGS), 2000) for pool in (direct, cast(Pool, with_recording))
        )
        with_recording.recorder.close()
        found.append((other - one) * 1e6)
    print(f"recording adds p50 {statistics.median(found):.2f} µs, p95 {quantile(found, 0.95):.2f} µs a call")


def throughput(folder: Path, pairs: int) -> None:
    """Print the ratio of the throughput of CLIENTS threads with a recording to that without."""
    with PoolV2(PoolConfig(workers=2)) as pool:
        pool.warm_up()
        one, other = [], []
        for number in range(pairs):
            recording = RecordingPool(pool, folder / f"t{number}.rec")
            rates = {}
            for which in (0, 1) if number % 2 else (1, 0):
                rates[which] = _rate((pool.execute, recording.execute)[which])
            recording.recorder.close()
            one.append(rates[0])
            other.append(rates[1])
    ratio = paired_ratio(one, other)
    print(
        f"{CLIENTS} clients make {statistics.median(one):.0f} calls/s; with a recording {ratio.ratio:.3f} times "
        f"that (95 % interval {ratio.low:.3f} to {ratio.high:.3f}; {pairs} pairs of {BLOCK_S} s)"
    )


def _rate(execute: Callable[..., Any]) -> float:
    counts = [0] * CLIENTS
    over = threading.Event()

    def work(client: int) -> None:
        while not over.is_set():
            execute("echo", ARGS)
            counts[client] += 1

    threads = [threading.Thread(target=work, args=(client,)) for client in range(CLIENTS)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    time.sleep(BLOCK_S)
    over.set()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - begun)


def punctuality(seconds: float) -> None:
    """Print how late the calls of a replay begin."""
    calls = [
        Call(n * 1_000_000_000 // RATE, 0, 1, None, "echo", {"value": n}, "result", n)
        for n in range(int(RATE * seconds))
    ]
    with PoolV2(PoolConfig(workers=2)) as pool:
        pool.warm_up()
        late = [answer.late_s * 1e3 for answer in replay(pool, calls)]
    half, most = (f"{quantile(late, q):.2f} ms" for q in (0.5, 0.99))
    print(f"a replay of {RATE} calls/s begins them late by p50 {half}, p99 {most}")


def main() -> None:
    """Print all figures."""
    options = argparse.ArgumentParser()
    options.add_argument("--quick", action="store_true")
    quick = options.parse_args().quick
    with tempfile.TemporaryDirectory() as folder:
        overhead(Path(folder), 10 if quick else 50)
        throughput(Path(folder), 6 if quick else 30)
    punctuality(3.0 if quick else 20.0)


if __name__ == "__main__":
    main()

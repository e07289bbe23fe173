"""Kills workers of a loaded pool all the time, and looks at the answers, the deadlines and what is left behind.

    python -m benchmarks.storm --workers 64 --clients 200 --seconds 60

Each client makes calls with a nonce. A quarter of them sleep for longer than their timeout, so their deadline can be
judged: `late_ms` has quantiles of how late a timeout was told, and `control_late_ms` those of a thread of no pool that
sleeps to deadlines meanwhile: the claim is "no later than the control and 25 ms". An answer with another nonce is
wrong; a call that is answered HUNG_S after its deadlines hung. Prints the figures as one line of JSON, with the load of
the machine. Exit status 1 if an answer was wrong or a call hung.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import select
import signal
import sys
import threading
import time
from collections import Counter
from typing import Self

import msgspec

from benchmarks.resources import Held, held_for
from poolproof.bridge import CallTimeout, PoolConfig, PoolError
from poolproof.pool_v2 import PoolV2

HUNG_S = 30.0
TIMEOUT_S = 0.2
SLOW_SHARE = 0.25
PATIENCE_S = 60.0
SETTLE_S = 60.0
GOAL_MS = 25.0
SHARES = (0.5, 0.9, 0.99, 1.0)


class Storm:
    """Clients and a killer of one pool. `late_s` has how late each missed deadline was told, in seconds."""

    def __init__(self, pool: PoolV2, seconds: float, kill_pause_s: float) -> None:
        self._pool = pool
        self._end_s = time.monotonic() + seconds
        self._kill_pause_s = kill_pause_s
        self.outcomes: Counter[str] = Counter()
        self.late_s: list[float] = []
        self.wrong: list[str] = []
        self.hung = 0
        self.kills = 0

    def run(self, clients: int) -> None:
        """Run until the time is over and every call is answered."""
        threads = [threading.Thread(target=self._call, args=(number,)) for number in range(clients)]
        for thread in threads:
            thread.start()
        self._kill()
        for thread in threads:
            thread.join()

    def _kill(self) -> None:
        rng = random.Random(0)
        while time.monotonic() < self._end_s:
            time.sleep(self._kill_pause_s)
            pids = [worker.pid for worker in self._pool.status().workers if worker.pid]
            if pids:
                try:
                    os.kill(rng.choice(pids), signal.SIGKILL)
                    self.kills += 1
                except ProcessLookupError:
                    continue

    def _call(self, number: int) -> None:
        rng = random.Random(number)
        count = 0
        while time.monotonic() < self._end_s:
            count += 1
            nonce = f"{number}.{count}"
            began_s = time.monotonic()
            try:
                if rng.random() < SLOW_SHARE:
                    self._miss_a_deadline()
                    outcome = "no timeout"
                else:
                    answer = self._pool.execute(
                        "echo", {"nonce": nonce}, timeout_s=PATIENCE_S, checkout_timeout_s=PATIENCE_S
                    )
                    outcome = "answer"
                    if answer != {"nonce": nonce}:
                        self.wrong.append(f"{nonce}: {answer!r}")
            except PoolError as error:
                outcome = type(error).__name__
            self.outcomes[outcome] += 1
            self.hung += time.monotonic() - began_s > 2 * PATIENCE_S + HUNG_S

    def _miss_a_deadline(self) -> None:
        # In a lease, so that the wait for a worker is not part of the time.
        with self._pool.checkout(timeout_s=PATIENCE_S) as lease:
            began_s = time.monotonic()
            try:
                lease.execute("sleep", {"seconds": 10 * PATIENCE_S}, timeout_s=TIMEOUT_S)
            except CallTimeout:
                self.late_s.append(time.monotonic() - began_s - TIMEOUT_S)
                raise


class Control:
    """A thread of no pool that sleeps to deadlines as the supervisor does. `late_s`: how late it woke, in seconds.

    What it is late, the machine is late: a deadline of the pool can be kept no better.
    """

    def __init__(self) -> None:
        self.late_s: list[float] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sleep, name="control")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _sleep(self) -> None:
        poll = select.epoll()
        with contextlib.closing(poll):
            while not self._over.is_set():
                due_s = time.monotonic() + TIMEOUT_S
                poll.poll(TIMEOUT_S)
                self.late_s.append(time.monotonic() - due_s)


def quantiles_ms(late_s: list[float]) -> dict[str, float]:
    """Some quantiles of how late something was, in milliseconds."""
    late = sorted(late_s) or [0.0]
    return {str(share): round(late[int(share * (len(late) - 1))] * 1e3, 1) for share in SHARES}


def settled(pool: PoolV2) -> Held:
    """Look at what is held when all workers are there again, after at most SETTLE_S seconds."""
    end_s = time.monotonic() + SETTLE_S
    while time.monotonic() < end_s:
        try:
            pool.warm_up()
        except PoolError:  # so many starts were killed that the circuit is open still
            time.sleep(0.5)
            continue
        if not held_for(pool).zombies:
            break
        time.sleep(0.1)
    return held_for(pool)


def main() -> int:
    """Run one storm."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--kill-pause", type=float, default=0.01, help="seconds between two kills")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    with PoolV2(PoolConfig(workers=options.workers, zygote=True, start_timeout_s=60.0)) as pool:
        pool.warm_up()
        before = held_for(pool)
        storm = Storm(pool, options.seconds, options.kill_pause)
        with Control() as control:
            storm.run(options.clients)
        after = settled(pool)
    late_ms, control_ms = quantiles_ms(storm.late_s), quantiles_ms(control.late_s)
    told = {
        "load": [round(load, 1), round(os.getloadavg()[0], 1)],
        "calls": sum(storm.outcomes.values()),
        "outcomes": dict(storm.outcomes),
        "kills": storm.kills,
        "wrong": len(storm.wrong),
        "hung": storm.hung,
        "deadlines": len(storm.late_s),
        "late_ms": late_ms,
        "control_late_ms": control_ms,
        "within_25_ms_of_control": {share: late_ms[share] <= control_ms[share] + GOAL_MS for share in late_ms},
        "before": msgspec.structs.asdict(before),
        "after": msgspec.structs.asdict(after),
    }
    sys.stdout.write(json.dumps(told) + "\n")
    return int(bool(storm.wrong or storm.hung))


if __name__ == "__main__":
    sys.exit(main())

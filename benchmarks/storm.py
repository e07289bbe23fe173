"""Kills workers of a loaded pool all the time, and looks at the answers, the deadlines and what is left behind.

    python -m benchmarks.storm --workers 64 --clients 200 --seconds 60

Each client makes calls with a nonce. A quarter of them sleep for longer than their timeout, so their deadline can be
judged: `late_ms` has quantiles of how late a timeout was told. The machine is late, too: `slept_late_ms` are those of a
thread of no pool that sleeps to deadlines meanwhile, and `killed_late_ms` those of one that then kills a process and
awaits its end. The claim is "no later than that and 25 ms". An answer with another nonce is wrong; a call that is
answered HUNG_S after its deadlines hung. Prints the figures as one line of JSON, with the load of the machine. Exit
status 1 if an answer was wrong or a call hung.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import select
import signal
import subprocess
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
    """Threads of no pool that keep deadlines meanwhile. What they are late, in seconds, the machine is late.

    `slept_s`: one sleeps to each deadline, as the supervisor does. `killed_s`: one also kills a process of its own
    then, and waits for the end of its output, as the client of a late worker does.
    """

    def __init__(self) -> None:
        self.slept_s: list[float] = []
        self.killed_s: list[float] = []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=each, name="control") for each in (self._sleep, self._kill)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _sleep(self) -> None:
        while not self._over.is_set():
            self.slept_s.append(-_until_deadline_s())

    def _kill(self) -> None:
        while not self._over.is_set():
            with subprocess.Popen(["sleep", "600"], stdout=subprocess.PIPE) as child:
                due_s = time.monotonic() + TIMEOUT_S
                _until_deadline_s()
                child.kill()
                assert child.stdout is not None, "it has a pipe"
                child.stdout.read()
                self.killed_s.append(time.monotonic() - due_s)


def _until_deadline_s() -> float:
    # Sleeps for TIMEOUT_S. Returns how many seconds too early it woke: a negative number.
    due_s = time.monotonic() + TIMEOUT_S
    poll = select.epoll()
    with contextlib.closing(poll):
        poll.poll(TIMEOUT_S)
    return due_s - time.monotonic()


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
    late_ms, control_ms = quantiles_ms(storm.late_s), quantiles_ms(control.killed_s)
    told = {
        "load": [round(load, 1), round(os.getloadavg()[0], 1)],
        "calls": sum(storm.outcomes.values()),
        "outcomes": dict(storm.outcomes),
        "kills": storm.kills,
        "wrong": len(storm.wrong),
        "hung": storm.hung,
        "deadlines": len(storm.late_s),
        "late_ms": late_ms,
        "slept_late_ms": quantiles_ms(control.slept_s),
        "killed_late_ms": control_ms,
        "within_25_ms_of_killed": {share: late_ms[share] <= control_ms[share] + GOAL_MS for share in late_ms},
        "before": msgspec.structs.asdict(before),
        "after": msgspec.structs.asdict(after),
    }
    sys.stdout.write(json.dumps(told) + "\n")
    return int(bool(storm.wrong or storm.hung))


if __name__ == "__main__":
    sys.exit(main())

"""Probes a pool from outside: reads its status while calls run, and afterwards measures its capacity and its growth.

Knows nothing of verdicts; everything goes to the recorder.
"""

from __future__ import annotations

import contextlib
import gc
import sys
import threading
import time
from collections.abc import Iterable

import psutil

from poolproof.bridge import Capability, Pool, PoolError
from poolproof.bridge.clock import now_ns
from poolproof.harness.history.history import Growth, RunInfo, StatusSample
from poolproof.harness.model.face import Way
from poolproof.harness.model.fault import CLOSING
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.workload import Step
from poolproof.harness.oracle.capacity import FULL_LABEL
from poolproof.harness.oracle.status import CROWD_LABEL
from poolproof.harness.oracle.turns import keeps_turns
from poolproof.harness.run.pool.cancelled import cancel_waiters
from poolproof.harness.run.pool.limited import ask_with_limits
from poolproof.harness.run.pool.probers import MakeClient, Probers
from poolproof.harness.run.pool.turns import ask_in_turn
from poolproof.harness.run.recording.recorder import Recorder

READ_EVERY_S = 0.01
STRETCHES = 4
STRETCH_CALLS = 500
SETTLE_S = 5.0
TOGETHER = 1.9
SETTLED_LOOKS_S = 0.05
CROWD_MORE = 2
"""A crowd (calls made at the same time) has this many calls more than the pool can serve at once."""
HELD_TIMES = 2.5
"""The smallest size of an idle pool is watched for this many times `idle_timeout_s`."""
CROWDS_S = (0.1, 1.0, 3.0)
"""How many seconds each call lasts, crowd by crowd."""
ROUNDS_S = (0.05, 0.3, 1.0, 3.0)
"""How many seconds each call lasts, round by round; a round has one call for every worker at once."""


class StatusReader:
    """A thread that reads the pool's status and health every 10 ms, from `start` to `stop`."""

    def __init__(self, pool: Pool, recorder: Recorder) -> None:
        self._pool = pool
        self._recorder = recorder
        self.most_waiting = 0
        """The largest number of waiting calls since this was set to 0."""
        self._reading = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="status", daemon=True)

    def start(self) -> None:
        """Read once, and start the thread."""
        self.read()
        self._thread.start()

    def stop(self) -> None:
        """End the thread. Idempotent."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()

    def read(self) -> StatusSample:
        """Read the pool's status once more, and record it. Never in two threads at once: a pool may count that."""
        with self._reading:
            return self._read()

    def _read(self) -> StatusSample:
        began_ns = now_ns()
        try:
            before, health, after = self._pool.status(), self._pool.health_check(), self._pool.status()
            sample = StatusSample(
                began_ns=began_ns, ended_ns=now_ns(), status=before, health=health, status_after=after
            )
        except Exception as error:
            told = f"{type(error).__name__}: {error}"
            sample = StatusSample(began_ns=began_ns, ended_ns=now_ns(), error=told)
        self._recorder.status(sample)
        if sample.status is not None:
            self.most_waiting = max(self.most_waiting, sample.status.waiting)
        return sample

    def settle(self, most: int, hold_s: float = 0.0) -> None:
        """Read the status until at most `most` workers live (for SETTLE_S seconds at most), and for `hold_s`
        afterwards.
        """
        end_s = time.monotonic() + SETTLE_S
        while time.monotonic() < end_s:
            status = self.read().status
            if status is None or len(status.workers) <= most:
                break
            time.sleep(SETTLED_LOOKS_S)
        end_s = time.monotonic() + hold_s
        while time.monotonic() < end_s:
            time.sleep(READ_EVERY_S)
            self.read()

    def _run(self) -> None:
        while not self._ended.wait(READ_EVERY_S):
            self.read()


class Probing:
    """All probes of one run. They do nothing unless the scenario is `probed`; a pool that was closed is not filled."""

    def __init__(
        self,
        way: Way,
        recorder: Recorder,
        scenario: Scenario,
        info: RunInfo,
        *,
        in_sessions: bool = False,
        remembers: int = 0,
    ) -> None:
        """With `in_sessions`, the face carries calls of sessions; it keeps a record of `remembers` last calls."""
        self._remembers = remembers
        self._way = way
        self._recorder = recorder
        self._info = info
        self._active = scenario.probed
        self._open = self._active and all(fault.kind not in CLOSING for fault in scenario.faults)
        self._in_sessions = in_sessions
        self._ends_calls = Capability.KILL in scenario.needs
        self._most = info.workers + int(info.options.get("overflow", 0))
        self._reader = StatusReader(way.pool, recorder)
        self._descriptors = _descriptors() if self._active else {}

    def start(self) -> None:
        """Begin to read the status."""
        if self._active:
            self._reader.start()

    def stop(self) -> None:
        """Stop reading the status. Idempotent."""
        self._reader.stop()

    def fill(self, make_client: MakeClient, first_index: int) -> None:
        """Ask for every worker at once, then for more, with and without limits of time, then one call after another.

        At the end, wait until an idle pool has its smallest size. The operations have indexes from `first_index` on,
        the clients numbers from 1 on.
        """
        if not self._open:
            return
        probers = Probers(make_client, first_client=1, first_index=first_index)
        info = self._info
        for number, seconds in enumerate(ROUNDS_S):
            step = Step(command="sleep", args={"seconds": seconds}, label=f"{FULL_LABEL}{number}")
            with contextlib.suppress(Exception):
                self._way.pool.warm_up()  # a pool that shrinks starts all its workers again
            began_s = time.monotonic()
            probers.run_all([step] * info.workers)
            if time.monotonic() - began_s < TOGETHER * seconds:
                break  # no two calls were one after another
        self._crowd(probers)
        if getattr(self._way, "cancels", False):
            with contextlib.suppress(Exception):
                self._way.pool.warm_up()
            cancel_waiters(probers, info)
            self._reader.read()
        if self._ends_calls and not info.limits_service and not info.baseline:
            ask_with_limits(probers, self._most, in_sessions=self._in_sessions)
        if keeps_turns(info):
            with contextlib.suppress(Exception):
                self._way.pool.warm_up()
            self._reader.read()
            ask_in_turn(probers, info.workers, in_sessions=self._in_sessions)
            self._reader.read()
        hold_s = HELD_TIMES * info.options.get("idle_timeout_s", 0.0)
        self._reader.settle(info.options.get("min_workers", info.workers), hold_s)

    def _crowd(self, probers: Probers) -> None:
        # Makes more calls than may run, so that some wait, in rounds until the status has shown that they do.
        may_wait = min(CROWD_MORE, self._info.options.get("max_queue", CROWD_MORE))
        count = self._most + self._info.options.get("max_queue", 0) + CROWD_MORE
        for number, seconds in enumerate(CROWDS_S):
            self._reader.most_waiting = 0
            probers.run_all(
                [
                    Step(
                        command="sleep",
                        args={"seconds": seconds},
                        label=f"{CROWD_LABEL}{number}",
                        session=f"crowd-{number}-{place}" if self._in_sessions else None,
                    )
                    for place in range(count)
                ]
            )
            if self._reader.most_waiting >= may_wait:
                break

    def measure_growth(self) -> None:
        """Make several series of equal calls, and record the memory and the descriptors that are held after each."""
        if not self._open or "max_requests" in self._info.options:  # then every stretch has other workers
            return
        if self._info.observed:  # then the harness's own records of the events grow
            return
        now = _descriptors()
        lived = sorted(self._descriptors.keys() & now.keys())
        blocks, own_bytes, workers_bytes = [], [], []
        for stretch in range(-1, STRETCHES + 1):  # the first only fills the records of the last calls
            for number in range(STRETCH_CALLS if stretch >= 0 else self._remembers):
                with contextlib.suppress(PoolError):
                    self._way.execute("echo", {"value": number, "nonce": f"growth.{stretch}.{number}"})
            if stretch < 0:
                continue
            gc.collect()
            blocks.append(sys.getallocatedblocks())
            own_bytes.append(psutil.Process().memory_info().rss)
            workers_bytes.append(sum(_memory(psutil.Process().children(recursive=True))))
        self._recorder.growth(
            Growth(
                calls=STRETCH_CALLS,
                blocks=tuple(blocks),
                own_bytes=tuple(own_bytes),
                workers_bytes=tuple(workers_bytes),
                descriptors=tuple((pid, self._descriptors[pid], now[pid]) for pid in lived),
            )
        )


def _memory(processes: Iterable[psutil.Process]) -> Iterable[int]:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            yield process.memory_info().rss


def _descriptors() -> dict[int, int]:
    found = {}
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            found[process.pid] = process.num_fds()
    return found

"""The effort of a run: the sizes of every experiment, and the time limits.

The sizes are fixed beforehand; only time, never a figure, ends an experiment early.
"""

from __future__ import annotations

import time

import msgspec

MB = 1_000_000


class Effort(msgspec.Struct, frozen=True, kw_only=True):
    """The sizes of one run. Durations are seconds.

    `rounds` blocks of `block_s` for each system and condition; `repeats` killed workers and late calls for each
    condition; `starts` pools of `start_workers`; `crowd` workers and clients for the efficiency; `runs` programs of
    `run_s`; executors of `array_workers`, which echo arrays and map `mapped_calls`; `session_rounds` tables of
    `sessions` sessions, and a pool with `pool_sessions`. `limit_s` ends an experiment; `total_s` is the limit of all
    experiments together.
    """

    name: str
    seed: int
    rounds: int
    block_s: float
    contenders: tuple[int, ...] = (8, 32)
    contended_rounds: int
    contended_block_s: float
    workers: int = 4
    repeats: int
    starts: int
    start_workers: int = 16
    crowd: int = 128
    crowd_rounds: int
    crowd_block_s: float
    runs: int = 10
    run_s: float
    transfer_rounds: int
    largest_bytes: int = 64 * MB
    largest_array_bytes: int = 100 * MB
    array_workers: int = 2
    mapped_calls: int = 10_000
    late_calls: int
    sessions: int
    session_rounds: int = 5
    pool_sessions: int = 8000
    late_clients: tuple[int, ...] = (1, 8)
    limit_s: float
    total_s: float


def quick(seed: int) -> Effort:
    """The sizes of a run that takes at most 2 minutes."""
    return Effort(
        name="quick",
        seed=seed,
        rounds=8,
        block_s=0.12,
        contended_rounds=6,
        contended_block_s=0.2,
        repeats=30,
        starts=5,
        crowd_rounds=4,
        crowd_block_s=0.8,
        run_s=0.3,
        transfer_rounds=5,
        largest_array_bytes=16 * MB,
        late_calls=24,
        sessions=100_000,
        limit_s=20,
        total_s=115,
    )


def full(seed: int) -> Effort:
    """The sizes of a run that takes at most 8 minutes; 24 paired blocks are enough for a margin of about 5 %."""
    return Effort(
        name="full",
        seed=seed,
        rounds=24,
        block_s=0.25,
        contended_rounds=24,
        contended_block_s=0.3,
        repeats=60,
        starts=15,
        crowd_rounds=12,
        crowd_block_s=1.0,
        run_s=1.0,
        transfer_rounds=15,
        late_calls=64,
        sessions=1_000_000,
        limit_s=100,
        total_s=470,
    )


class Limit:
    """The time limit of an experiment. The first `least` steps always run."""

    def __init__(self, limit_s: float, *, least: int = 3) -> None:
        self._end = time.monotonic() + limit_s
        self._least = least
        self.cut = False

    def allows(self, step: int) -> bool:
        """Whether step number `step`, from 0, may begin; a refusal sets `cut`."""
        if step >= self._least and time.monotonic() >= self._end:
            self.cut = True
            return False
        return True

    def notes(self, done: int, planned: int) -> tuple[str, ...]:
        """A note if the limit ended the experiment early."""
        return (f"the time limit ended it after {done} of {planned} rounds",) if self.cut else ()

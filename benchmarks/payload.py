"""Payloads: megabytes a second there and back, beside a bare socketpair: with the same codec, and uninterpreted."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from benchmarks.blocks import BenchError, orders, paired
from benchmarks.effort import MB, Effort, Limit
from benchmarks.raw import bytes_echo, codec_echo
from benchmarks.records import Goal, Result, Row, judge
from benchmarks.systems import ANSWER_TIMEOUT_S, config
from harness.stats import quantile
from pool_v2 import PoolV2

SIZES = (1_000, 16_000, 256_000, 1 * MB, 16 * MB, 64 * MB)
CODEC = "socketpair with the codec"
BYTES = "socketpair, bytes only"
GOAL_BYTES = 64 * MB
GOAL = 0.5
BLOCK_BYTES = 8 * MB
"""A block moves at least so much, but no more than MOST_TRANSFERS times one payload."""
MOST_TRANSFERS = 200
FRAME_LIMIT_BYTES = 128 * MB


def payload(effort: Effort) -> Result:
    """Echo of 1 kB to 64 MB.

    A pool writes JSON twice and reads it twice for an echo, and so does the socketpair with the codec. The one without
    only moves the bytes: no pool whose payloads are JSON text can come near to it.
    """
    rows: list[Row] = []
    goals: tuple[Goal, ...] = ()
    notes: tuple[str, ...] = ()
    limit = Limit(effort.limit_s)
    sizes = [size for size in SIZES if size <= effort.largest_bytes]
    with ExitStack() as stack:
        move = stack.enter_context(bytes_echo())
        call = stack.enter_context(codec_echo())
        options = config(workers=1, max_frame_bytes=FRAME_LIMIT_BYTES, call_timeout_s=ANSWER_TIMEOUT_S)
        pool = stack.enter_context(PoolV2(options))
        pool.warm_up()
        for size in sizes:
            text = "x" * size
            data = memoryview(text.encode())
            echoes: dict[str, Callable[[], object]] = {
                "V2": partial(pool.execute, "echo", {"value": text}),
                CODEC: partial(call, text),
                BYTES: partial(move, data),
            }
            if echoes["V2"]() != text or echoes[CODEC]() != text or echoes[BYTES]() != data:
                raise BenchError(f"an echo of {size} bytes came back changed")
            found = _measure(echoes, size, effort, limit)
            ratios = {name: paired(found[name], found["V2"], seed=effort.seed) for name in (CODEC, BYTES)}
            for name, rates in found.items():
                rows.append(
                    Row(
                        condition=_named(size),
                        system=name,
                        samples=len(rates),
                        metrics={"mb_per_s": quantile(rates, 0.5)},
                        v2_ratio=ratios.get(name),
                    )
                )
            if size == GOAL_BYTES:
                goals = tuple(judge(f"64 MB echo, V2 / {name}", ratios[name], at_least=GOAL) for name in ratios)
        notes += limit.notes(min(row.samples for row in rows), effort.transfer_rounds)
    return Result(
        experiment="payload",
        title="Echo of large payloads, 1 client (bytes there and back a second)",
        rows=tuple(rows),
        goals=goals,
        notes=notes,
    )


def _measure(
    echoes: dict[str, Callable[[], object]], size: int, effort: Effort, limit: Limit
) -> dict[str, list[float]]:
    transfers = min(max(BLOCK_BYTES // size, 1), MOST_TRANSFERS)
    rates: dict[str, list[float]] = {name: [] for name in echoes}
    for step, order in enumerate(orders(echoes, effort.transfer_rounds, effort.seed + size)):
        if not limit.allows(step):
            break
        for name in order:
            echo = echoes[name]
            began = time.perf_counter()
            for _ in range(transfers):
                echo()
            rates[name].append(2 * transfers * size / MB / (time.perf_counter() - began))
    return rates


def _named(size: int) -> str:
    return f"{size // MB} MB" if size >= MB else f"{size // 1000} kB"

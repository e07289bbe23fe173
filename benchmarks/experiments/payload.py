"""Payloads: megabytes per second there and back, compared with a bare socketpair, with and without the codec."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from benchmarks.blocks import BenchError, measure_blocks, ratio_of_rates
from benchmarks.effort import MB, Effort, Limit
from benchmarks.raw import bytes_echo, codec_echo
from benchmarks.records import Goal, Result, Row, judge
from benchmarks.systems import v2
from poolproof.harness.history.stats import quantile
from poolproof.harness.model.workload import Step

SIZES = (1_000, 16_000, 256_000, 1 * MB, 16 * MB, 64 * MB)
CODEC = "socketpair with the codec"
BYTES = "socketpair, bytes only"
GOAL_BYTES = 64 * MB
GOAL = 0.5
BLOCK_S = 0.02
"""A block moves at least one payload."""
FRAME_LIMIT_BYTES = 128 * MB


def payload(effort: Effort) -> Result:
    """Echo payloads of 1 kB to 64 MB.

    For an echo a pool writes JSON twice and reads it twice, and so does the socketpair with the codec. The socketpair
    without a codec only moves the bytes: no pool with JSON payloads can come near it.
    """
    rows: list[Row] = []
    goals: tuple[Goal, ...] = ()
    notes: tuple[str, ...] = ()
    limit = Limit(effort.limit_s)
    sizes = [size for size in SIZES if size <= effort.largest_bytes]
    with ExitStack() as stack:
        move = stack.enter_context(bytes_echo())
        echo = stack.enter_context(codec_echo())
        pool = stack.enter_context(v2(1, max_frame_bytes=FRAME_LIMIT_BYTES))
        for size in sizes:
            text = "x" * size
            data = memoryview(text.encode())
            if move(data) != data:
                raise BenchError(f"an echo of {size} bytes came back changed")

            def moved(_: str, args: dict[str, Any], data: memoryview = data) -> object:
                return args["value"] if len(move(data)) == len(data) else None

            found = measure_blocks(
                {"V2": pool, CODEC: echo, BYTES: moved},
                clients=1,
                rounds=effort.transfer_rounds,
                seconds=BLOCK_S,
                seed=effort.seed + size,
                limit=limit,
                step=Step(command="echo", args={"value": text}),
                warm_s=BLOCK_S,
            )
            ratios = {name: ratio_of_rates(found[name], found["V2"]) for name in (CODEC, BYTES)}
            for name, blocks in found.items():
                rows.append(
                    Row(
                        condition=_named(size),
                        system=name,
                        samples=len(blocks),
                        metrics={"mb_per_s": 2 * size / MB * quantile([block.throughput for block in blocks], 0.5)},
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


def _named(size: int) -> str:
    return f"{size // MB} MB" if size >= MB else f"{size // 1000} kB"

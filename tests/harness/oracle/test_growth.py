"""Calls leave nothing behind: literal stretches that grow each time, once, or not."""

from __future__ import annotations

from typing import Any

import pytest

from poolproof.harness.history.history import Growth
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.oracle import NoGrowth


def verdict(build: Any, **fields: Any) -> Verdict:
    usual: dict[str, Any] = {"calls": 100, "blocks": (0,) * 5, "workers_bytes": (0,) * 5}
    return NoGrowth().check(build.history(growth=Growth(**{**usual, **fields}), services=[
        build.service(101, 1, 0, 1)
    ])).verdict  # fmt: skip


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        ((0, 100, 200, 300, 400), Verdict.FAIL),
        ((0, 20, 40, 60, 80), Verdict.PASS),
        ((0, 21, 42, 63, 84), Verdict.FAIL),
        ((0, 900, 900, 900, 900), Verdict.PASS),
        ((0, 100, 200, 300, 250), Verdict.PASS),
    ],
    ids=["a block a call", "at the limit", "above it", "a cache", "collected late"],
)
def test_blocks_of_this_process(build: Any, blocks: tuple[int, ...], expected: Verdict) -> None:
    assert verdict(build, blocks=blocks) is expected


def test_a_kilobyte_a_call_in_the_workers_is_a_leak(build: Any) -> None:
    assert verdict(build, workers_bytes=tuple(n * 100_000 for n in range(5))) is Verdict.FAIL
    assert verdict(build, workers_bytes=tuple(n * 20_000 for n in range(5))) is Verdict.PASS


def test_descriptors_of_a_process_between_are_counted_closely(build: Any) -> None:
    assert verdict(build, descriptors=((7, 10, 16),)) is Verdict.PASS
    assert verdict(build, descriptors=((7, 10, 17),)) is Verdict.FAIL
    assert verdict(build, descriptors=((101, 10, 20),)) is Verdict.PASS  # a worker holds one for each client


def test_without_a_measurement_nothing_is_known(build: Any) -> None:
    assert NoGrowth().check(build.history()).verdict is Verdict.UNKNOWN


def test_a_kilobyte_a_call_in_one_block_of_this_process_is_a_leak(build: Any) -> None:
    assert verdict(build, own_bytes=tuple(n * 100_000 for n in range(5))) is Verdict.FAIL
    assert verdict(build, own_bytes=tuple(n * 20_000 for n in range(5))) is Verdict.PASS
    assert verdict(build, own_bytes=(0, 100_000, 200_000, 200_000, 300_000)) is Verdict.PASS

"""Pools with a planted latency: named by their percentage, and slower by it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from poolproof.harness.bench.workloads.planted import SlowerPool, parse_planted
from poolproof.harness.model.errors import UsageError
from poolproof.harness.subjects.pools import find_pool


def test_the_name_says_how_much_and_of_what() -> None:
    assert parse_planted("slower:10") == (10.0, "v2")
    assert parse_planted("slower:2.5:v1") == (2.5, "v1")
    assert find_pool("slower:10:v1").name == "slower:10:v1"
    assert find_pool("slower:10:v1").capabilities == find_pool("v1").capabilities


@pytest.mark.parametrize("name", ["slower:", "slower:0", "slower:-3", "slower:x", "slower:nan", "slower:1001"])
def test_a_percentage_that_cannot_be_names_the_limits(name: str) -> None:
    with pytest.raises(UsageError, match="slower:PERCENT or slower:PERCENT:POOL, above 0 and at most 1000"):
        find_pool(name)


def test_a_call_takes_its_share_longer_and_gives_the_same(fake_pool: Any) -> None:
    def answer(command: str, args: dict[str, Any]) -> int:
        time.sleep(0.02)
        return 7

    pool = SlowerPool(fake_pool(answer=answer), 1.0)
    began = time.monotonic()
    assert pool.execute("echo") == 7
    assert time.monotonic() - began >= 0.03999
    assert pool.status().state == "open"

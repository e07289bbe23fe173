"""Callables that fork: each call has its own answer, and the next call of another client is not hurt."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from poolproof.bridge import PoolConfig
from poolproof.pool_v2 import PoolExecutor

LIMIT_S = 20.0
CALLS = 22
CHILD_ENDS = {
    "it returns": "None",
    "it exits": "__import__('sys').exit(3)",
    "it raises": "1 // 0",
}


@pytest.mark.parametrize("zygote", [False, True])
@pytest.mark.parametrize("child", CHILD_ENDS)
def test_calls_that_fork_and_calls_between_have_their_own_answers(
    child: str, zygote: bool, family: Callable[[], set[Any]], until: Any
) -> None:
    source = "[(pid := __import__('os').fork()) or [{child}], pid and __import__('os').waitpid(pid, 0), {value}][2]"
    with PoolExecutor(config=PoolConfig(workers=1, zygote=zygote)) as executor, ThreadPoolExecutor(2) as clients:
        pid = executor.submit(os.getpid).result(LIMIT_S)

        def fork_all() -> list[Any]:
            texts = [source.format(child=CHILD_ENDS[child], value=number) for number in range(CALLS)]
            return [executor.submit(eval, text).result(LIMIT_S) for text in texts]

        def call_all() -> list[Any]:
            return [executor.submit(abs, -number).result(LIMIT_S) for number in range(CALLS)]

        forked, between = clients.submit(fork_all), clients.submit(call_all)
        assert forked.result(LIMIT_S) == list(range(CALLS))
        assert between.result(LIMIT_S) == list(range(CALLS))
        assert executor.submit(os.getpid).result(LIMIT_S) == pid, "no call has cost the worker"
    until(lambda: not family(), "no child is left")

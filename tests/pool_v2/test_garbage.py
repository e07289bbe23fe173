"""A call that fails leaves nothing to the garbage collector: no stack, ticket or descriptor lives on until it runs."""

from __future__ import annotations

import gc
import os
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

import pool_v2
from bridge import CallTimeout, CheckoutTimeout, CommandError, InvalidRequest, PoolClosed, PoolError
from pool_v2 import PoolV2
from pool_v2.ticket import Ticket

OWN_DIR = os.path.dirname(pool_v2.__file__)
TIMES = 5
PATIENCE = 60


def left() -> list[object]:
    """The pool's tickets, errors and frames that still exist."""
    kinds = (Ticket, *PoolError.__subclasses__())
    return [
        each
        for each in gc.get_objects()
        if type(each) in kinds or (type(each) is FrameType and each.f_code.co_filename.startswith(OWN_DIR))
    ]


def uncollected(fail: Callable[[], object], *errors: type[PoolError]) -> int:
    """How many more of these there are after a few calls that fail, without the collector."""

    def often() -> None:
        for _ in range(TIMES):
            try:
                fail()
            except errors:
                continue
            pytest.fail("it did not fail")

    often()
    gc.collect()
    gc.disable()
    try:
        before = len(left())
        often()
        for _ in range(PATIENCE):  # a worker that is replaced meanwhile has its own
            if len(left()) <= before:
                break
            time.sleep(0.05)
        return len(left()) - before
    finally:
        gc.enable()


@pytest.fixture
def pool(make_pool: Any) -> PoolV2:
    made: PoolV2 = make_pool(workers=1)
    made.execute("ping")
    return made


def test_a_refused_command(pool: PoolV2) -> None:
    assert uncollected(lambda: pool.execute("no_such_command"), CommandError) <= 0
    assert uncollected(lambda: pool.execute("no_such_command", session="s"), CommandError) <= 0


def test_a_request_that_cannot_be_sent(pool: PoolV2) -> None:
    assert uncollected(lambda: pool.execute("echo", {"value": float("nan")}), InvalidRequest) <= 0


def test_a_wait_in_vain(pool: PoolV2, pid_of: Any, client: Any, until: Any) -> None:
    pid = pid_of(pool)
    os.kill(pid, signal.SIGSTOP)
    holder = client(pool.execute, "ping")
    until(lambda: pool.status().workers[0].state == "leased", "the worker is taken")
    try:
        assert uncollected(lambda: pool.execute("ping", checkout_timeout_s=0.01), CheckoutTimeout) <= 0
    finally:
        os.kill(pid, signal.SIGCONT)
    holder.result()


def test_a_call_that_takes_too_long(pool: PoolV2) -> None:
    slow = {"seconds": 60}
    assert uncollected(lambda: pool.execute("sleep", slow, timeout_s=0.1), CallTimeout, CheckoutTimeout) <= 0


def test_a_lease(pool: PoolV2) -> None:
    def use() -> None:
        with pool.checkout() as worker:
            worker.execute("no_such_command")

    assert uncollected(use, CommandError) <= 0


def test_a_closed_pool(pool: PoolV2) -> None:
    pool.close()

    assert uncollected(lambda: pool.execute("ping"), PoolClosed) <= 0

"""Peers behind our interface: their answers are ours, and what they cannot do they do not claim."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from poolproof.bridge import (
    CallTimeout,
    Capability,
    CheckoutTimeout,
    CommandError,
    InvalidRequest,
    Pool,
    PoolClosed,
    PoolConfig,
    PoolError,
    WorkerCrashed,
)
from poolproof.bridge.worker.intervals import read_journals
from poolproof.bridge.worker.journal import JOURNAL_VARIABLE
from poolproof.harness.run.names import pool_name
from poolproof.harness.run.runner import Request, why_skipped
from poolproof.harness.subjects.peers.extra import require
from poolproof.harness.subjects.pools import find_pool
from poolproof.scenarios import CATALOGUE

EXTRAS = {"pebble", "loky"}
PEERS = ("executor", "mppool", "pebble", "loky")


def spec(peer: str) -> str:
    if peer in EXTRAS:
        pytest.importorskip(peer)
    return f"poolproof.harness.subjects.peers.{peer}:POOL"


@pytest.fixture(params=PEERS)
def peer(request: pytest.FixtureRequest) -> str:
    """The name of one peer; skipped if it is not installed."""
    spec(request.param)
    return str(request.param)


@pytest.fixture
def pool(peer: str, tmp_path: Path) -> Iterator[Pool]:
    """One worker of it."""
    config = PoolConfig(
        name=pool_name("peers", peer),
        workers=1,
        max_frame_bytes=4096,
        log_dir=str(tmp_path),
        env={JOURNAL_VARIABLE: str(tmp_path)},
    )
    with find_pool(spec(peer)).make(config, None) as made:
        yield made


def test_answers_errors_and_counts_are_ours(pool: Pool, tmp_path: Path) -> None:
    assert isinstance(pool, Pool)
    assert pool.warm_up() == 1
    values: tuple[Any, ...] = (None, 0, [], {"result": 1})
    for value in values:
        assert pool.execute("echo", {"value": value}) == value
    for command, told in (("fail", "failed as asked"), ("ehco", "did you mean 'echo'"), ("not_json", "Error")):
        with pytest.raises(CommandError, match=told):
            pool.execute(command)
    with pytest.raises(CommandError, match=r"the response is too large: .* the limit is 4096"):
        pool.execute("blob", {"bytes": 5000})
    with pytest.raises(CommandError, match="unknown command 'bad_frame'"):
        pool.execute("bad_frame", {"kind": "garbage"})
    with pytest.raises(InvalidRequest):
        pool.execute("echo", {"value": "x" * 5000})
    with pytest.raises(InvalidRequest, match="keeps no sessions"):
        pool.execute("echo", session="mine")
    pool.execute("print", {"bytes": 10})
    counted = pool.status().statistics
    assert counted.submitted == 12
    assert counted.in_flight == 0
    assert counted.outcomes == {"result": 5, "CommandError": 5, "InvalidRequest": 2}
    assert {service.command for service in read_journals(tmp_path)} >= {"echo", "fail", "print"}


def test_a_late_call_is_told_and_a_close_ends_it_and_all_others(pool: Pool, peer: str) -> None:
    pool.warm_up()
    with pytest.raises(CallTimeout, match=r"'sleep' had no answer in 0\.2 s"):
        pool.execute("sleep", {"seconds": 60}, timeout_s=0.2)
    ended: list[BaseException] = []

    def call() -> None:
        try:
            pool.execute("sleep", {"seconds": 60})
        except Exception as error:
            ended.append(error)

    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    pool.close(0.1)
    for caller in callers:
        caller.join(15)
    pool.close()
    assert [type(error) for error in ended] == [PoolClosed] * 3
    assert (pool.status().state, pool.health_check().healthy) == ("closed", False)
    with pytest.raises(PoolClosed):
        pool.execute("echo")
    with pytest.raises(PoolClosed):
        pool.warm_up()


def test_a_close_ends_a_call_too_that_nobody_waits_for(pool: Pool) -> None:
    pool.warm_up()
    with pytest.raises(CallTimeout):
        pool.execute("sleep", {"seconds": 60}, timeout_s=0.1)
    closer = threading.Thread(target=pool.close, args=(0.1,), daemon=True)
    closer.start()
    closer.join(30)
    assert not closer.is_alive()


@pytest.mark.parametrize("closed", [False, True], ids=["death", "close"])
@pytest.mark.parametrize("peer", ["executor", "loky"])
def test_a_call_that_was_cancelled_keeps_no_news_from_those_behind_it(peer: str, closed: bool) -> None:
    ended: list[type[BaseException]] = []
    pool: Pool

    def call() -> None:
        try:
            pool.execute("sleep", {"seconds": 60})
        except PoolError as error:
            ended.append(type(error))

    def start() -> threading.Thread:
        before = pool.status().statistics.in_flight
        caller = threading.Thread(target=call)
        caller.start()
        while pool.status().statistics.in_flight == before:
            time.sleep(0.001)
        return caller

    with find_pool(spec(peer)).make(PoolConfig(name=pool_name("peers", peer), workers=1), None) as pool:
        worker = pool.execute("pid")["pid"]
        callers = [start() for _ in range(7)]  # several, as an executor takes a few out of its queue ahead of time
        with pytest.raises(CheckoutTimeout):
            pool.execute("echo", checkout_timeout_s=0.05)
        callers.append(start())
        if closed:
            pool.close(0)
        else:
            os.kill(worker, signal.SIGKILL)
        for caller in callers:
            caller.join(30)
        assert ended == [PoolClosed if closed else WorkerCrashed] * 8


@pytest.mark.parametrize(("peer", "lives_on"), [("executor", False), ("loky", False), ("pebble", True)])
def test_what_the_death_of_a_worker_costs(peer: str, lives_on: bool) -> None:
    config = PoolConfig(name=pool_name("peers", peer), workers=1)
    with find_pool(spec(peer)).make(config, None) as made:
        with pytest.raises(WorkerCrashed):
            made.execute("exit", {"code": 3})
        if lives_on:
            assert made.execute("echo", {"value": 1}) == 1
        else:
            with pytest.raises(WorkerCrashed, match="accepts no more calls"):
                made.execute("echo", {"value": 1})


def test_a_peer_claims_nothing_that_it_has_not(peer: str) -> None:
    subject = find_pool(spec(peer))
    assert subject.capabilities == {Capability.WARM_UP}
    skipped = {name: why_skipped(scenario, subject, Request()) for name, scenario in CATALOGUE.items()}
    assert "lacks sessions" in skipped["session_state"]
    assert "lacks kill" in skipped["worker_crash"]
    assert "does not know the command bad_frame" in skipped["broken_stream"]
    assert "starts its own kind of workers" in skipped["slow_start"]
    assert "cannot wait until a call was sent" in skipped["close_under_load"]
    assert "cannot wait until a call was sent" in skipped["two_timeouts"]
    assert skipped["any_json"] == skipped["command_errors"] == ""


def test_a_peer_that_is_not_installed_is_told_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Exception, match=r"no_such_peer is not installed; `pip install 'poolproof\[peers\]'`"):
        require("no_such_peer")


def test_nothing_is_left_after_a_run(peer: str, tmp_path: Path, tiny: Callable[..., Any]) -> None:
    from poolproof.harness.checkers import CORE, OneOutcome
    from poolproof.harness.model.verdict import Verdict
    from poolproof.harness.run.runner import run

    result = run(tiny(checkers=(OneOutcome(), *CORE)), find_pool(spec(peer)), Request(), tmp_path)
    found = {finding.checker: finding.verdict for finding in result.findings}
    for checker in ("one_outcome", "own_answer", "exclusive_lease", "at_most_once", "conserved", "nothing_left"):
        assert found[checker] is Verdict.PASS, result.findings

"""A soft limit: SIGTERM before the deadline, which a handler or a callable can use to clean up."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from poolproof.bridge import CallTimeout, CommandError, ConfigError, PoolConfig, SoftTimeout, WorkerCrashed
from poolproof.bridge.clock import deadline_ns
from poolproof.bridge.wire.messages import decode_request, decode_response
from poolproof.bridge.worker import program
from poolproof.bridge.worker.handlers import COMMANDS_VARIABLE, Context
from poolproof.bridge.worker.journal import Journal
from poolproof.pool_v2 import PoolExecutor, PoolV2
from poolproof.pool_v2.executor.executor import NotPicklable

MakePool = Callable[..., PoolV2]
LONG_S = 3600.0
LIMIT_S = 60.0
CALLS = """
import os, signal, time
from poolproof.bridge.worker.handlers.context import with_nonce

def work(path, stubborn=False):
    with open(path + ".begun", "w"):
        pass
    while True:
        try:
            time.sleep(600)
        except TimeoutError:
            with open(path, "a") as note:
                note.write("cleaned up\\n")
            if not stubborn:
                raise

def warned(context, args):
    os.kill(os.getpid(), signal.SIGTERM)
    return with_nonce(args, text="x" * args["size"])

class Killing:
    def __reduce__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        return int, (1,)

COMMANDS = {"warned": warned}
"""


def hasten(pool: PoolV2, left_s: float) -> None:
    """Let the deadline of the running call be so near."""
    [ticket] = pool._engine.coordinator.open_calls()
    ticket.deadline_ns = deadline_ns(left_s)
    pool._engine.supervisor.look()


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A module that workers can import."""
    name = f"soft_calls_of_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(CALLS)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module(name)
    del sys.modules[name]


@pytest.mark.parametrize("zygote", [False, True])
def test_a_callable_can_clean_up_and_its_worker_is_kept(
    calls: ModuleType, tmp_path: Path, until: Any, zygote: bool
) -> None:
    config = PoolConfig(lazy=True, zygote=zygote, term_grace_s=LONG_S)
    with PoolExecutor(1, config=config) as executor:
        pid = executor.submit(os.getpid).result(LIMIT_S)
        for number in range(2):
            note = tmp_path / str(number)
            future = executor.submit(calls.work, str(note))
            until(Path(f"{note}.begun").exists, "it runs")
            hasten(executor.pool, LONG_S - 60)
            assert isinstance(future.exception(LIMIT_S), SoftTimeout)
            assert note.read_text() == "cleaned up\n"
        assert executor.submit(os.getpid).result(LIMIT_S) == pid


def test_a_callable_that_goes_on_is_warned_once_and_killed_at_the_deadline(
    calls: ModuleType, tmp_path: Path, until: Any
) -> None:
    note = tmp_path / "note"
    with PoolExecutor(1, config=PoolConfig(lazy=True, term_grace_s=LONG_S)) as executor:
        future = executor.submit(calls.work, str(note), stubborn=True)
        until(Path(f"{note}.begun").exists, "it runs")
        hasten(executor.pool, LONG_S - 60)
        until(note.exists, "it was warned")
        [ticket] = executor.pool._engine.coordinator.open_calls()
        assert executor.pool._engine.coordinator.workers[1].term_deadline_ns == ticket.deadline_ns
        hasten(executor.pool, 0.001)
        assert isinstance(future.exception(LIMIT_S), CallTimeout)


@pytest.mark.parametrize("size", [0, 1_000_000])
def test_a_handler_of_one_s_own_is_ended_by_an_exception(make_pool: MakePool, calls: ModuleType, size: int) -> None:
    pool = make_pool(term_grace_s=LONG_S, env={COMMANDS_VARIABLE: calls.__name__})
    for _ in range(2):
        with pytest.raises(CommandError, match="SoftTimeout: the deadline of this call is near"):
            pool.execute("warned", {"size": size}, timeout_s=2 * LONG_S)
    assert [worker.worker_id for worker in pool.status().workers] == [1], "no worker was lost"


def test_without_the_option_the_signal_ends_the_worker(make_pool: MakePool, calls: ModuleType) -> None:
    pool = make_pool(env={COMMANDS_VARIABLE: calls.__name__})
    with pytest.raises(WorkerCrashed):
        pool.execute("warned", {"size": 0})


def test_a_signal_while_the_result_is_pickled_costs_that_result_only(calls: ModuleType) -> None:
    with PoolExecutor(1, config=PoolConfig(lazy=True, term_grace_s=LONG_S)) as executor:
        pid = executor.submit(os.getpid).result(LIMIT_S)
        told = executor.submit(calls.Killing).exception(LIMIT_S)
        assert isinstance(told, NotPicklable)
        assert "SoftTimeout" in str(told)
        assert executor.submit(os.getpid).result(LIMIT_S) == pid


def test_between_two_commands_the_signal_has_no_effect() -> None:
    former = signal.signal(signal.SIGTERM, program.raise_in_handler)
    try:
        signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, former)


class HitWire(program.Wire):
    """A wire in whose `write` a signal comes."""

    @property
    def _limit_bytes(self) -> int:
        signal.raise_signal(signal.SIGTERM)
        return 2**20

    @_limit_bytes.setter
    def _limit_bytes(self, limit_bytes: int) -> None:
        pass


def test_a_response_is_written_whole_whatever_the_signal_interrupts() -> None:
    signals: list[int] = []

    def warned(number: int, frame: Any) -> None:
        signals.append(number)
        program.raise_in_handler(number, frame)

    former = signal.signal(signal.SIGTERM, warned)
    read_fd, write_fd = os.pipe()
    try:
        request = decode_request(b'{"id": 7, "command": "echo", "args": {"value": 1}, "timestamp": ""}')
        context = Context(1, "pool-worker", lambda _: None)
        program._answer(HitWire(read_fd, write_fd, limit_bytes=0), context, Journal(1, None), request)
        response = decode_response(os.read(read_fd, 1000)[4:])
        assert (response.id, response.success, response.result) == (7, True, 1)
    finally:
        os.close(read_fd)
        os.close(write_fd)
        signal.signal(signal.SIGTERM, former)
    assert signals


def test_a_grace_beyond_the_timeout_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"term_grace_s 5\.0: must be less than call_timeout_s 5\.0"):
        PoolConfig(term_grace_s=5.0, call_timeout_s=5.0)

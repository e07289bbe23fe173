"""The error of a crash says how the worker ended, in words and as attributes, through each way to call a pool."""

from __future__ import annotations

import asyncio
import copy
import os
import pickle
import signal
import sys
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from poolproof import AsyncPool, PoolConfig, PoolExecutor, PoolV1, PoolV2
from poolproof.bridge import CircuitOpen, StartFailed, WorkerCrashed
from poolproof.bridge.errors import End, WorkerEnded
from tests.waiting import wait_until, wait_until_gone

COMMANDS = """
import os, signal

def die(context, args):
    if "status" in args:
        os._exit(args["status"])
    os.kill(os.getpid(), args["signal"])
    signal.pause()

def last_parts(context, args):
    yield 1
    die(context, args)

COMMANDS = {"die": die, "last_parts": last_parts}
"""
ENDS: list[tuple[dict[str, int], str, int | None, int | None]] = [
    ({"status": 42}, "exited with status 42", 42, None),
    ({"status": 0}, "exited with status 0", 0, None),
    ({"signal": signal.SIGKILL}, "was ended by SIGKILL", None, signal.SIGKILL),
    ({"signal": signal.SIGSEGV}, "was ended by SIGSEGV", None, signal.SIGSEGV),
]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PoolConfig:
    """The options of a pool with one worker, whose commands `die` and `last_parts` end it."""
    (tmp_path / "deadly_commands.py").write_text(COMMANDS)
    monkeypatch.syspath_prepend(str(tmp_path))
    return PoolConfig(workers=1, env={"POOLPROOF_COMMANDS": "deadly_commands"})


def check(error: WorkerEnded, told: str, status: int | None, number: int | None) -> None:
    for same in (error, copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert f": it {told}" in str(same)
        assert (same.exit_status, same.signal, same.out_of_memory) == (status, number, False)


def by_v1(config: PoolConfig, args: dict[str, int]) -> None:
    with PoolV1(config) as pool:
        pool.execute("die", args)


def by_v2(config: PoolConfig, args: dict[str, int]) -> None:
    with PoolV2(config) as pool:
        pool.execute("die", args)


def by_zygote(config: PoolConfig, args: dict[str, int]) -> None:
    with PoolV2(PoolConfig(workers=1, zygote=True, env=config.env)) as pool:
        pool.execute("die", args)


def by_lease(config: PoolConfig, args: dict[str, int]) -> None:
    with PoolV2(config) as pool, pool.checkout() as worker:
        worker.execute("die", args)


def by_batch(config: PoolConfig, args: dict[str, int]) -> None:
    with PoolV2(config) as pool:
        pool.execute_many("die", [args, args])


def by_stream(config: PoolConfig, args: dict[str, int]) -> None:
    with PoolV2(config) as pool:
        list(pool.execute_stream("last_parts", args))


def by_task(config: PoolConfig, args: dict[str, int]) -> None:
    async def call() -> None:
        async with AsyncPool(config) as pool:
            await pool.execute("die", args)

    asyncio.run(call())


def by_task_and_zygote(config: PoolConfig, args: dict[str, int]) -> None:
    by_task(PoolConfig(workers=1, zygote=True, env=config.env), args)


def die(args: dict[str, int]) -> None:
    """What the executor runs."""
    if "status" in args:
        os._exit(args["status"])
    os.kill(os.getpid(), args["signal"])
    signal.pause()


def by_executor(config: PoolConfig, args: dict[str, int]) -> None:
    with PoolExecutor(1) as executor:
        error = executor.submit(die, args).exception(30)
        assert isinstance(error, BrokenProcessPool)
        assert isinstance(error.__cause__, WorkerCrashed)
        assert error.__cause__.ended == vars(error)["ended"]
        raise error


WAYS = [by_v1, by_v2, by_zygote, by_lease, by_batch, by_stream, by_task, by_task_and_zygote, by_executor]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("args", "told", "status", "number"), ENDS)
def test_a_crash_says_how_the_worker_ended(
    config: PoolConfig,
    way: Callable[[PoolConfig, dict[str, int]], None],
    args: dict[str, int],
    told: str,
    status: int | None,
    number: int | None,
) -> None:
    with pytest.raises(WorkerCrashed) as caught:
        way(config, args)
    check(caught.value, told, status, number)


def test_a_worker_that_ends_between_two_calls_of_a_lease_says_how(config: PoolConfig) -> None:
    with PoolV2(config) as pool, pool.checkout() as worker:
        [status] = pool.status().workers
        os.kill(status.pid, signal.SIGTERM)
        wait_until_gone(status.pid)
        wait_until(lambda: _ended(pool, status.worker_id), "the pool has noticed")
        with pytest.raises(WorkerCrashed) as caught:
            worker.execute("echo", {"value": 1})
    check(caught.value, "was ended by SIGTERM", None, signal.SIGTERM)


def _ended(pool: PoolV2, worker_id: int) -> bool:
    worker = pool._engine.coordinator.workers.get(worker_id)
    return worker is None or worker.exited


@pytest.mark.parametrize("kind", [PoolV1, PoolV2])
def test_a_failed_start_says_how_the_worker_ended(kind: type[PoolV1 | PoolV2]) -> None:
    command = (sys.executable, "-c", "raise SystemExit(5)")
    expected = StartFailed if kind is PoolV1 else CircuitOpen
    with kind(PoolConfig(workers=1, worker_command=command)) as pool, pytest.raises(expected) as caught:
        pool.warm_up()
    assert "died before it answered its init ping: it exited with status 5" in str(caught.value)
    if isinstance(caught.value, StartFailed):
        check(caught.value, "exited with status 5", 5, None)


def test_a_worker_that_its_pool_has_killed_did_not_end_by_itself(config: PoolConfig) -> None:
    """It closed its stdout and lives on, so the pool ends it: SIGKILL is not what it died of."""
    answer_once = (
        "import sys, os, signal; from poolproof.bridge.worker.program import run, Wire\n"
        "read = Wire.read\n"
        "def close(wire):\n"
        "    payload = read(wire)\n"
        "    if payload and b'\"echo\"' in payload:\n"
        "        os.close(wire._write_fd); signal.pause()\n"
        "    return payload\n"
        "Wire.read = close; sys.exit(run(1))"
    )
    for kind in (PoolV1, PoolV2):
        with kind(PoolConfig(workers=1, worker_command=(sys.executable, "-c", answer_once))) as pool:
            with pytest.raises(WorkerCrashed, match="ended its stream before it answered") as caught:
                pool.execute("echo", {"value": 1})
            assert caught.value.ended == End()


def test_the_kernel_s_out_of_memory_killer_is_named(config: PoolConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The counter of the control group rises with the SIGKILL; a SIGKILL without it is somebody else's."""
    kills = [3]
    monkeypatch.setattr("poolproof.bridge.processes.process.oom_kills", lambda: kills[0])
    for kind in (PoolV1, PoolV2):
        with kind(config) as pool:
            pool.warm_up()
            kills[0] += 1
            with pytest.raises(WorkerCrashed, match="killed by the kernel's out-of-memory killer") as caught:
                pool.execute("die", {"signal": signal.SIGKILL})
            assert (caught.value.signal, caught.value.out_of_memory) == (signal.SIGKILL, True)
            with pytest.raises(WorkerCrashed, match="it was ended by SIGKILL") as caught:
                pool.execute("die", {"signal": signal.SIGKILL})
            assert not caught.value.out_of_memory

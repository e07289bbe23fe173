"""Large buffers through shared memory, on every way to call: the same answers, and nothing left after any end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from poolproof.bridge import CallTimeout, PoolConfig, WorkerCrashed
from poolproof.bridge.processes.channel import Channel
from poolproof.bridge.wire.segment import Segment
from poolproof.pool_v2 import PoolV2
from poolproof.pool_v2.aio.pool import AsyncPool
from tests.bridge.test_segment import blocks_open

MB = 1_000_000
MakePool = Callable[..., PoolV2]


def data(size: int, seed: int = 0) -> bytes:
    """Bytes that no other seed or place has."""
    return bytes((number * 7 + seed) % 251 for number in range(1000)) * (size // 1000)


def echoed(call: Callable[..., Any], *, size: int = MB) -> None:
    for seed in range(3):
        value = {"a": [data(size, seed), bytearray(data(size, seed + 1))], "b": "text", "c": memoryview(data(1000))}
        assert call("echo", {"value": value}) == value


def shared(pool: PoolV2) -> int:
    return pool.status().shared_memory_bytes


def test_calls_of_every_kind_give_back_what_they_are_given(make_pool: MakePool) -> None:
    pool = make_pool(workers=2)
    echoed(pool.execute)
    assert shared(pool) >= 2 * MB
    echoed(lambda command, args: pool.execute_in_session("s", command, args))
    with pool.checkout() as lease:
        echoed(lease.execute)
    batch = [{"value": data(MB, seed)} for seed in range(6)]
    assert pool.execute_many("echo", batch) == [one["value"] for one in batch]
    echoed(pool.execute)
    assert pool.status().statistics.in_flight == 0


def test_tasks_too(make_async_pool: Callable[..., AsyncPool]) -> None:
    pool = make_async_pool(workers=2)

    async def all_at_once() -> None:
        values = [data(MB, seed) for seed in range(8)]
        assert await asyncio.gather(*(pool.execute("echo", {"value": value}) for value in values)) == values

    asyncio.run(all_at_once())
    assert shared(pool.threads) >= MB


def test_the_parts_of_a_stream_come_inline(make_pool: MakePool, tmp_path: Any) -> None:
    (tmp_path / "parts_of_bytes.py").write_text(
        "def parts(context, args):\n    for number in range(4):\n        yield bytes([number]) * args['size']\n"
        "COMMANDS = {'parts_of_bytes': parts}\n"
    )
    pool = make_pool(workers=1, env={"PYTHONPATH": str(tmp_path), "POOLPROOF_COMMANDS": "parts_of_bytes"})
    echoed(pool.execute)
    with pool.execute_stream("parts_of_bytes", {"size": MB}) as parts:
        assert list(parts) == [bytes([number]) * MB for number in range(4)]
    echoed(pool.execute)


def test_a_state_change_with_bytes_is_repeated_on_the_next_worker(make_pool: MakePool, pid_of: Any, until: Any) -> None:
    pool = make_pool(workers=1)
    value = data(MB)
    pool.execute_in_session("s", "put", {"key": "k", "value": value})
    os.kill(pid_of(pool), signal.SIGKILL)
    until(lambda: [worker.worker_id for worker in pool.status().workers] == [2], "there is another")
    assert pool.execute_in_session("s", "get", {"key": "k"})["value"] == value


def test_what_a_worker_keeps_of_its_arguments_is_never_written_again(make_pool: MakePool, tmp_path: Any) -> None:
    (tmp_path / "keeping.py").write_text(
        "kept = []\n"
        "def keep(context, args):\n    kept.append(args['value'][10:20])\n    return [bytes(view) for view in kept]\n"
        "def drop(context, args):\n    return len(args['value'])\n"
        "COMMANDS = {'keep': keep, 'drop': drop}\n"
    )
    pool = make_pool(workers=1, env={"PYTHONPATH": str(tmp_path), "POOLPROOF_COMMANDS": "keeping"})
    kept = []
    for seed in range(4):
        kept.append(data(2 * MB, seed)[10:20])
        assert pool.execute("keep", {"value": memoryview(data(2 * MB, seed))}) == kept
        for other in (50, 60):
            assert pool.execute("drop", {"value": memoryview(data(2 * MB, seed + other))}) == 2 * MB


def test_a_large_answer_to_a_small_request_is_shared_from_the_second_on(make_pool: MakePool) -> None:
    pool = make_pool(workers=1)
    pool.execute_in_session("s", "put", {"key": "k", "value": data(MB)})
    for _ in range(3):
        assert pool.execute_in_session("s", "get", {"key": "k"})["value"] == data(MB)
    assert shared(pool) >= MB


def test_no_more_than_its_share_is_kept(make_pool: MakePool) -> None:
    pool = make_pool(workers=2, shared_memory_bytes=2 * MB)
    assert pool.execute("echo", {"value": data(900_000)}) == data(900_000)
    assert 0 < shared(pool) <= MB
    echoed(pool.execute, size=2 * MB)
    assert shared(pool) <= 2 * MB
    assert pool.execute("echo", {"value": data(900_000)}) == data(900_000)


def test_without_shared_memory_all_is_inline(make_pool: MakePool) -> None:
    pool = make_pool(workers=1, shared_memory_bytes=0)
    before = blocks_open()
    echoed(pool.execute)
    assert shared(pool) == 0
    assert blocks_open() <= before


def test_memory_that_the_worker_cannot_open_is_not_used(make_pool: MakePool, monkeypatch: pytest.MonkeyPatch) -> None:
    new_memory = Channel.new_memory
    offered = []

    def elsewhere(channel: Channel) -> tuple[int, int, int] | None:
        place = new_memory(channel)
        offered.append(place)
        return None if place is None else (place[0], 10**6, place[2])

    monkeypatch.setattr(Channel, "new_memory", elsewhere)
    before = blocks_open()
    pool = make_pool(workers=1)
    echoed(pool.execute)
    assert len([place for place in offered if place]) == 1, "it is tried once in the whole pool"
    assert blocks_open() <= before
    assert [worker.worker_id for worker in pool.status().workers] == [1]


@pytest.mark.parametrize("where", ["create", "put"])
def test_a_machine_without_memory_to_share_goes_on_inline(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Segment, where, full)
    echoed(make_pool(workers=1).execute)


def test_a_worker_that_dies_with_the_memory_leaves_none(make_pool: MakePool, until: Any) -> None:
    before = blocks_open()
    pool = make_pool(workers=2)
    for _ in range(5):
        with pytest.raises(WorkerCrashed):
            pool.execute("exit", {"padding": data(MB), "code": 3})
        with pytest.raises(CallTimeout), pool.checkout() as lease:
            lease.execute("sleep", {"seconds": 60, "padding": data(MB)}, timeout_s=0.2)
        echoed(pool.execute)
    until(lambda: len(blocks_open() - before) <= 2, "one for each worker")
    pool.close()
    assert blocks_open() <= before


def test_a_worker_that_dies_as_it_is_given_the_memory_costs_no_call(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch, pid_of: Any
) -> None:
    pool = make_pool(workers=2)
    pool.warm_up()
    new_memory = Channel.new_memory
    killed: list[Any] = []

    def kill_first(channel: Channel) -> tuple[int, int, int] | None:
        if not killed:
            killed.append(channel.pid)
            os.kill(channel.pid, signal.SIGKILL)
            channel.process.exited(20.0)
        return new_memory(channel)

    monkeypatch.setattr(Channel, "new_memory", kill_first)
    echoed(pool.execute)
    assert killed


def test_one_task_that_is_cancelled_in_a_large_call_changes_no_other(make_async_pool: Callable[..., AsyncPool]) -> None:
    pool = make_async_pool(workers=2)

    async def some_cancelled() -> None:
        for seed in range(6):
            doomed = asyncio.create_task(pool.execute("sleep", {"seconds": 5, "padding": data(MB, seed)}))
            kept = asyncio.create_task(pool.execute("echo", {"value": data(MB, seed)}))
            await asyncio.sleep(0.02)
            doomed.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await doomed
            assert await kept == data(MB, seed)

    asyncio.run(some_cancelled())


def test_the_option_is_a_whole_number() -> None:
    with pytest.raises(ValueError, match="shared_memory_bytes -1: must be a whole number from 0 to"):
        PoolConfig(shared_memory_bytes=-1)

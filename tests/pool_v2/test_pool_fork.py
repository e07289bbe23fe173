"""V2 and fork: the child's copy refuses every use and harms nothing; the parent goes on."""

from __future__ import annotations

import gc
import os
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from poolproof.bridge import PoolClosed, PoolConfig
from poolproof.bridge.processes.rundir.orphans import list_pools
from poolproof.pool_v2 import PoolV2

CHILD_LIMIT_S = 15.0


def in_child(work: Callable[[], Any], until: Callable[..., Any]) -> Any:
    """Fork, run `work` in the child and give what it returned, which must be JSON."""
    read_fd, write_fd = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # later Pythons warn of every fork beside threads
        pid = os.fork()
    if pid == 0:
        answer: Any = "the child failed"
        try:
            answer = work()
        except BaseException as error:
            answer = repr(error)
        finally:
            os.write(write_fd, msgspec.json.encode(answer))
            os._exit(0)
    os.close(write_fd)
    until(lambda: os.waitpid(pid, os.WNOHANG)[0] == pid, "the child ends")
    with os.fdopen(read_fd, "rb") as pipe:
        return msgspec.json.decode(pipe.read())


def test_every_use_in_the_child_is_refused_and_the_parent_stays_right(
    make_pool: Callable[..., PoolV2], until: Any
) -> None:
    pool = make_pool(workers=2)
    pool.warm_up()
    pids = {worker.pid for worker in pool.status().workers}
    uses: dict[str, Callable[[], Any]] = {
        "execute": lambda: pool.execute("ping"),
        "execute_in_session": lambda: pool.execute_in_session("s", "ping"),
        "end_session": lambda: pool.end_session("s"),
        "sessions": pool.sessions,
        "status": pool.status,
        "health_check": pool.health_check,
        "warm_up": pool.warm_up,
        "close": pool.close,
    }

    def refused() -> list[str]:
        found = []
        for name, use in uses.items():
            with pytest.raises(PoolClosed, match="belongs to process"):
                use()
            found.append(name)
        return found

    assert in_child(refused, until) == list(uses)
    assert {worker.pid for worker in pool.status().workers} == pids
    assert {pool.execute("pid")["pid"] for _ in range(6)} == pids


def test_a_lease_and_a_stream_are_refused_in_the_child_and_write_into_no_file_of_its_own(
    make_pool: Callable[..., PoolV2], until: Any, tmp_path: Path
) -> None:
    pool = make_pool(workers=2)
    pool.warm_up()
    parts = pool.execute_stream("parts", {"count": 3})
    assert next(parts)["index"] == 0
    with pool.checkout() as worker:
        pid = worker.execute("pid")["pid"]

        def refused() -> list[str]:
            files = [(tmp_path / str(number)).open("wb") for number in range(50)]  # in place of what the fork closed
            found = []
            for use in (
                lambda: worker.execute("ping"),
                lambda: worker.pid,
                lambda: worker.update(1),
                lambda: next(parts),
            ):
                with pytest.raises(PoolClosed, match="belongs to process"):
                    use()
                found.append("refused")
            assert all(os.fstat(file.fileno()).st_size == 0 for file in files)
            return found

        assert in_child(refused, until) == 4 * ["refused"]
        assert worker.execute("pid")["pid"] == pid
    assert [part["index"] for part in parts] == [1, 2]


def test_a_fork_in_the_middle_of_a_call_leaves_the_call_to_the_parent(
    make_pool: Callable[..., PoolV2], log: Any, pid_of: Any, held: Any, until: Any
) -> None:
    pool = make_pool(log)
    pid = pid_of(pool)
    holder, release = held(pool, pid)

    assert in_child(lambda: "ended", until) == "ended"

    release()
    assert holder.result()["pid"] == pid


def test_dropping_the_child_s_copy_ends_nothing_of_the_parent_s(until: Any, gone: Any) -> None:
    box = [PoolV2(PoolConfig(workers=1))]
    box[0].warm_up()
    (worker,) = box[0].status().workers

    def drop() -> list[str]:
        for _ in range(100):  # whatever was closed at the fork is another's descriptor by now
            os.open(os.devnull, os.O_RDWR)
        before = set(threading.enumerate())
        box.clear()
        gc.collect()
        begun = [thread for thread in threading.enumerate() if thread not in before]
        for thread in begun:
            thread.join(CHILD_LIMIT_S)
        return [thread.name for thread in begun]

    assert in_child(drop, until) == []
    assert box[0].name in {record.name for record in list_pools()}
    assert not gone(worker.pid)
    assert box[0].execute("pid")["pid"] == worker.pid
    box[0].close()

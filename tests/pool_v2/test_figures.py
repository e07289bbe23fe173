"""The figures that a living pool tells who asks through its run directory."""

from __future__ import annotations

import os
import resource
import signal
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from poolproof.bridge import CallTimeout, CommandError, PoolConfig, WorkerCrashed
from poolproof.bridge.interface import PoolFigures
from poolproof.bridge.processes.rundir.asking import Answered, ask_pools
from poolproof.bridge.processes.rundir.base import pools_dir
from poolproof.bridge.processes.rundir.figures import SOCKET_FILE, FiguresSocket, address
from poolproof.pool_v1 import PoolV1
from poolproof.pool_v2 import PoolV2
from tests.waiting import stop, wait_until


@pytest.fixture(autouse=True)
def runtime_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A run directory of its own, whose path is longer than the address of a socket may be."""
    path = tmp_path / ("long" * 30)
    monkeypatch.setenv("POOLPROOF_RUNTIME_DIR", str(path))
    return path


@pytest.fixture
def pool() -> Iterator[PoolV2]:
    """A pool of two warm workers."""
    with PoolV2(PoolConfig(name="told", workers=2)) as made:
        made.warm_up()
        yield made


def ask() -> Answered:
    """The answer of the only pool."""
    [found] = ask_pools()
    return found


def figures() -> PoolFigures:
    """The figures of the only pool."""
    found = ask()
    assert found.figures is not None, found.why
    return found.figures


def test_a_pool_tells_its_workers_calls_sessions_and_response_times(pool: PoolV2, client: Any) -> None:
    for number in range(300):
        pool.execute("echo", {"value": number})
    with pytest.raises(CommandError):
        pool.execute("fail", {"message": "no"})
    with pytest.raises(WorkerCrashed):
        pool.execute("exit", {"code": 3})
    pool.execute("put", {"key": "k", "value": 1}, session="s")
    pool.warm_up()
    slow = client(pool.execute, "sleep", {"seconds": 600})
    wait_until(lambda: figures().in_flight == 1, "the call is in flight")
    found = figures()

    assert (found.name, found.version, found.state, found.target) == ("told", "v2", "open", 2)
    assert found.workers == {"idle": 1, "leased": 1}
    assert (found.waiting, found.sessions) == (0, 1)
    assert found.ended == {"result": 301, "CommandError": 1, "WorkerCrashed": 1}
    assert len(found.response_s) == 100
    assert list(found.response_s) == sorted(found.response_s)
    assert found.response_at(0.5) == found.response_s[50]
    assert found.response_at(0.99) == found.response_s[99]
    assert found.response_s[0] > 0
    pool.close(0.0)
    with pytest.raises(Exception, match="closed"):
        slow.result()


def test_the_time_in_the_queue_is_part_of_the_response_time(pool: PoolV2, client: Any) -> None:
    pids = [worker.pid for worker in pool.status().workers]
    for pid in pids:
        stop(pid)
    busy = [client(pool.execute, "ping") for _ in range(2)]
    wait_until(lambda: figures().workers == {"leased": 2}, "both workers are busy")
    short = client(pool.execute, "echo", {"value": 1})
    wait_until(lambda: figures().waiting == 1, "the short call waits")
    time.sleep(0.1)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    for one in (*busy, short):
        one.result()
    wait_until(lambda: len(figures().response_s) == 3, "all have ended")
    assert figures().response_s[0] >= 0.1, "the short call has waited"


def test_a_ping_is_no_call(pool: PoolV2) -> None:
    assert figures().response_s == ()
    assert figures().response_at(0.5) is None


def test_a_call_that_timed_out_counts(pool: PoolV2) -> None:
    with pytest.raises(CallTimeout):
        pool.execute("sleep", {"seconds": 600}, timeout_s=0.05)
    wait_until(lambda: figures().response_s, "the call is counted")
    assert figures().response_s[0] >= 0.05


def test_only_the_user_can_ask(pool: PoolV2) -> None:
    folder = pools_dir() / "told"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_ISSOCK((folder / SOCKET_FILE).stat().st_mode)


def test_a_closed_pool_leaves_nothing(pool: PoolV2) -> None:
    pool.close()
    assert list(pools_dir().iterdir()) == []
    assert ask_pools() == []


def test_a_pool_that_nobody_can_ask_is_listed_with_the_reason() -> None:
    with PoolV1(PoolConfig(name="one", workers=1)):
        assert ask().why == "it gives no figures: a v1 pool, or one of an earlier version"


def test_who_asks_and_does_not_read_delays_nobody(pool: PoolV2) -> None:
    fd = os.open(pools_dir() / "told", os.O_RDONLY | os.O_DIRECTORY)
    idle = []
    try:
        for _ in range(100):
            one = socket.socket(socket.AF_UNIX)
            idle.append(one)
            one.connect(address(fd))
        assert pool.execute("echo", {"value": 1}) == 1
        assert figures().ended["result"] == 1
    finally:
        os.close(fd)
        for one in idle:
            one.close()


def test_a_forked_child_cannot_answer_and_the_parent_still_does(pool: PoolV2) -> None:
    [watched] = [fd for fd in pool._engine.supervisor.watch._reactions if stat.S_ISSOCK(os.fstat(fd).st_mode)]
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.fstat(watched)
        except OSError:
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert figures().name == "told"


def test_without_a_free_descriptor_a_pool_stops_answering_and_goes_on_serving(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with FiguresSocketAt(fd) as listening, socket.socket(socket.AF_UNIX) as asking:
        asking.connect(address(fd))
        assert listening.answer(lambda: FIGURES)
        with socket.socket(socket.AF_UNIX) as late:
            late.connect(address(fd))
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
                assert not listening.answer(lambda: FIGURES)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert asking.recv(10_000).startswith(b'{"at_ns":')
    os.close(fd)


FIGURES = PoolFigures(
    at_ns=time.monotonic_ns(),
    name="one",
    version="v2",
    state="open",
    target=1,
    workers={},
    waiting=0,
    in_flight=0,
    sessions=0,
    ended={},
)


class FiguresSocketAt(FiguresSocket):
    """A listening socket for the time of a with statement."""

    def __enter__(self) -> FiguresSocketAt:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

"""When the machine or a worker is in trouble: floods, giants, no descriptors, a full disk. Nothing hangs or is lost."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from poolproof.bridge import InvalidRequest, WorkerCrashed
from poolproof.bridge.processes.channel import Channel
from poolproof.pool_v2 import PoolV2
from tests.waiting import stop

MakePool = Callable[..., PoolV2]
MIB = 2**20


def test_a_request_and_a_response_of_64_mib_pass_whole(make_pool: MakePool) -> None:
    pool = make_pool(workers=2)
    value = "0123456789abcdef" * (4 * MIB)
    assert pool.execute("echo", {"value": value}, timeout_s=60.0) == value
    assert pool.execute("echo", {"value": 1}) == 1


def test_a_hundred_mib_of_stderr_blocks_nothing_and_keeps_its_last_lines(make_pool: MakePool) -> None:
    pool = make_pool(stderr_log_bytes=MIB)
    assert pool.execute("print", {"bytes": 100 * MIB, "stream": "stderr"}, timeout_s=60.0)["printed_bytes"] == 100 * MIB
    with pytest.raises(WorkerCrashed) as caught:
        pool.execute("exit", {"code": 3})
    assert "leaving in the middle of a call" in caught.value.stderr_tail


def test_a_response_over_the_limit_is_an_error_of_its_own_call(make_pool: MakePool) -> None:
    pool = make_pool(max_frame_bytes=10_000)
    with pytest.raises(Exception, match=r"the response is too large: a frame of .* the limit is 10000"):
        pool.execute("blob", {"bytes": 20_000})
    with pytest.raises(InvalidRequest, match=r"has .* bytes; the limit is 10000"):
        pool.execute("echo", {"value": "x" * 20_000})
    assert pool.execute("echo", {"value": 1}) == 1


@pytest.mark.parametrize("kind", ["oversize", "garbage", "not_json", "wrong_id", "truncated"])
def test_a_broken_stream_costs_its_call_and_its_worker_alone(kind: str, make_pool: MakePool, until: Any) -> None:
    pool = make_pool(workers=2)
    with pytest.raises(WorkerCrashed) as caught:
        pool.execute("bad_frame", {"kind": kind})
    assert caught.value.sent == "yes"
    assert [pool.execute("echo", {"value": n}) for n in range(10)] == list(range(10))
    until(lambda: pool.health_check().healthy, "the worker is replaced")


def test_a_full_disk_costs_the_logs_and_no_call(make_pool: MakePool) -> None:
    # /dev/full takes no byte: the log is written there.
    pool = make_pool()
    pool.warm_up()
    (channel,) = [worker.transport for worker in pool._engine.coordinator.workers.values()]
    assert isinstance(channel, Channel)
    log: Any = channel.tail._log
    log._name = "/dev/full"
    assert pool.execute("print", {"bytes": 1000, "stream": "stderr"})["printed_bytes"] == 1000
    with pytest.raises(WorkerCrashed) as caught:
        pool.execute("exit")
    assert "leaving in the middle" in caught.value.stderr_tail
    assert log.errors > 0


NO_DESCRIPTORS = """
import os, resource, time
from poolproof.bridge import PoolConfig, PoolError
from poolproof.pool_v2 import PoolV2

with PoolV2(PoolConfig(workers=2, start_failures_to_open=50)) as pool:
    pool.warm_up()
    pids = [worker.pid for worker in pool.status().workers]
    taken = []
    try:
        while True:
            taken.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        pass
    assert pool.execute("echo", {"value": 1}) == 1  # a call needs no new descriptor
    os.kill(pids[0], 9)
    limit = time.monotonic() + 30
    while any(worker.pid == pids[0] for worker in pool.status().workers):
        assert time.monotonic() < limit
        time.sleep(0.01)
    assert [pool.execute("echo", {"value": n}, checkout_timeout_s=20) for n in range(5)] == list(range(5))
    for fd in taken:
        os.close(fd)
    pool.warm_up()
    assert pool.health_check().healthy
    print("well")
try:
    taken = []
    while True:
        taken.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    pass
try:
    PoolV2(PoolConfig(name="once", workers=1))
except (OSError, PoolError) as error:
    for fd in taken:
        os.close(fd)
    with PoolV2(PoolConfig(name="once", workers=1)) as pool:
        assert pool.execute("echo", {"value": 2}) == 2
    print("refused, and the name is free")
"""


def test_without_descriptors_living_workers_serve_and_the_pool_recovers() -> None:
    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (80, 80))

    found = subprocess.run(
        [sys.executable, "-c", NO_DESCRIPTORS], preexec_fn=few, capture_output=True, text=True, timeout=90, check=False
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.split("\n")[:2] == ["well", "refused, and the name is free"]


def test_a_worker_that_reads_nothing_ends_a_large_request_at_its_deadline(make_pool: MakePool, pid_of: Any) -> None:
    pool = make_pool()
    stop(pid_of(pool))
    with pytest.raises(TimeoutError) as caught:
        pool.execute("echo", {"value": "x" * MIB}, timeout_s=0.3)
    assert str(caught.value.sent) == "maybe"  # type: ignore[attr-defined]
    assert pool.execute("echo", {"value": 1}) == 1


def test_a_stranger_that_holds_a_dead_workers_stdout_does_not_hold_its_client(
    make_pool: MakePool, client: Any, tmp_path: Path
) -> None:
    # The worker's child leaves the group and keeps the pipe; the worker dies in the middle of the next call.
    strangers = tmp_path / "strangers"
    script = (
        "import os, subprocess, sys\n"
        "stranger = subprocess.Popen(['setsid', 'sleep', '60'], close_fds=False)\n"
        f"open({str(strangers)!r}, 'a').write(f'{{stranger.pid}} ')\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'poolproof.bridge.worker.program'])\n"
    )
    pool = make_pool(worker_command=(sys.executable, "-c", script))
    try:
        pool.warm_up()
        with pytest.raises(WorkerCrashed):
            client(pool.execute, "exit", {"code": 1}, timeout_s=60.0).result()
        assert pool.execute("echo", {"value": 1}) == 1
    finally:
        pool.close()
        for pid in strangers.read_text().split():
            with contextlib.suppress(ProcessLookupError):  # the pool ends what its dead workers have left
                os.kill(int(pid), signal.SIGKILL)

"""The processes of one pool: named, recorded while they live, and released without a trace."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from poolproof.bridge.clock import deadline_ns
from poolproof.bridge.config import DEFAULT_WORKER_COMMAND, NAME_PATTERN, THREAD_VARIABLES, PoolConfig
from poolproof.bridge.errors import ConfigError, PoolNameConflict, StartFailed, WorkerCrashed
from poolproof.bridge.processes.channel import Channel
from poolproof.bridge.processes.output import printed
from poolproof.bridge.processes.output.logs import KEPT_LOGS
from poolproof.bridge.processes.process_manager import ProcessManager, unique_name
from poolproof.bridge.processes.rundir.base import pools_dir
from poolproof.bridge.processes.rundir.orphans import list_pools
from poolproof.bridge.wire.messages import encode_request
from poolproof.pool_v1 import PoolV1
from poolproof.pool_v2 import PoolExecutor, PoolV2
from tests.waiting import Holdings

pytestmark = pytest.mark.usefixtures("runtime_dir")

SERVE = ("sh", "-c", "echo {worker_id} $POOLPROOF_MAX_FRAME_BYTES $FLAVOUR >&2; cat >/dev/null")


@pytest.fixture
def process_manager() -> Iterator[Callable[..., ProcessManager]]:
    """Make process managers, which are shut down at the end with their workers released."""
    made: list[ProcessManager] = []

    def make(**options: object) -> ProcessManager:
        made.append(ProcessManager(PoolConfig.from_options({"worker_command": SERVE} | options), version="v9"))
        return made[-1]

    yield make
    for one in made:
        one.shut_down()


def _release(process_manager: ProcessManager, channel: Channel) -> None:
    channel.process.kill()
    assert channel.process.exited(10)
    assert channel.process.reap()
    process_manager.release(channel)


def test_names_that_nobody_chose_are_unique_and_possible() -> None:
    names = [unique_name("v2") for _ in range(1000)]
    assert len(set(names)) == 1000
    assert all(NAME_PATTERN.fullmatch(name) for name in names)
    assert re.fullmatch(rf"v2-{os.getpid()}-\d+-[0-9a-f]{{8}}", names[0])


def test_a_crew_owns_its_name_until_it_is_disbanded(process_manager: Callable[..., ProcessManager]) -> None:
    first = process_manager(name="alpha")
    assert first.name == "alpha"
    with pytest.raises(PoolNameConflict):
        process_manager(name="alpha")
    first.shut_down()
    first.shut_down()
    assert list_pools() == []
    process_manager(name="alpha")


def test_crews_without_a_name_never_collide(process_manager: Callable[..., ProcessManager]) -> None:
    names = {process_manager().name for _ in range(20)}
    assert len(names) == 20
    assert {record.name for record in list_pools()} == names
    assert {record.version for record in list_pools()} == {"v9"}


def test_worker_ids_are_never_used_twice(process_manager: Callable[..., ProcessManager]) -> None:
    one = process_manager()
    ids: list[int] = []
    threads = [threading.Thread(target=lambda: ids.extend(one.next_id() for _ in range(100))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(ids) == list(range(1, 401))


def test_a_worker_is_recorded_while_it_lives(process_manager: Callable[..., ProcessManager]) -> None:
    one = process_manager()
    channel = one.spawn(one.next_id())
    assert list_pools()[0].worker_pids == (channel.process.pid,)
    _release(one, channel)
    assert list_pools()[0].worker_pids == ()
    assert (pools_dir() / one.name / "workers").read_text().splitlines()[-1] == f"-{channel.process.pid}"


def test_a_worker_is_told_its_id_the_frame_limit_and_the_pools_variables(
    process_manager: Callable[..., ProcessManager],
) -> None:
    one = process_manager(max_frame_bytes=5000, env={"FLAVOUR": "sweet", "POOLPROOF_MAX_FRAME_BYTES": "1"})
    channel = one.spawn(7)
    channel.process.end_input()
    assert channel.process.exited(10)
    assert channel.tail.text(wait_s=10) == "7 5000 sweet", "no variable overrules the pool's own limit"
    _release(one, channel)


def test_what_a_worker_prints_is_logged_in_the_run_directory(
    process_manager: Callable[..., ProcessManager], until: Callable[..., None]
) -> None:
    one = process_manager()
    channel = one.spawn(3)
    log = pools_dir() / one.name / "worker-3.stderr.log"
    until(lambda: log.exists() and log.read_bytes().startswith(b"3 "), "the log has the worker's words")
    _release(one, channel)


def test_a_log_directory_is_made_and_outlives_the_pool(
    process_manager: Callable[..., ProcessManager], tmp_path: Path, until: Callable[..., None]
) -> None:
    one = process_manager(log_dir=str(tmp_path / "deep" / "logs"), stderr_log_bytes=4)
    channel = one.spawn(3)
    log = tmp_path / "deep" / "logs" / "worker-3.stderr.log"
    until(log.exists, "the log is made")
    _release(one, channel)
    one.shut_down()
    assert log.read_bytes() == b"3 13"


def test_a_log_directory_has_the_last_logs_only_and_no_credential_of_the_environment(
    process_manager: Callable[..., ProcessManager],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    until: Callable[..., None],
) -> None:
    monkeypatch.setattr(printed, "KEPT_IN_FOLDER", 3)
    monkeypatch.chdir(tmp_path)
    command = (sys.executable, "-c", "import os, sys; sys.stderr.write(os.environ['API_TOKEN'])")
    one = process_manager(log_dir="logs", worker_command=command, env={"API_TOKEN": "correct-horse"})
    monkeypatch.chdir("/")
    for number in range(1, 7):
        channel = one.spawn(number)
        assert channel.tail.await_end(60)
        _release(one, channel)
    one.shut_down()
    logs = {path.name: path.read_text() for path in (tmp_path / "logs").iterdir()}
    assert logs == {f"worker-{number}.stderr.log": "[redacted]" for number in (4, 5, 6)}


def test_a_log_directory_that_cannot_be_is_refused_before_the_name_is_taken(
    process_manager: Callable[..., ProcessManager], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"log_dir '.*/file': it is not a folder"):
        process_manager(name="alpha", log_dir=str(tmp_path / "file"))
    with pytest.raises(ConfigError, match="log_dir '/proc/self': "):  # no file can be made there
        process_manager(name="alpha", log_dir="/proc/self")
    assert list_pools() == []


@pytest.mark.parametrize("zygote", [False, True], ids=["spawned", "forked"])
def test_workers_run_where_they_are_told_to(
    process_manager: Callable[..., ProcessManager], until: Callable[..., None], zygote: bool
) -> None:
    here = os.sched_getaffinity(0)
    one = process_manager(worker_cpus=(max(here),), worker_command=DEFAULT_WORKER_COMMAND, zygote=zygote)
    channel = one.spawn(3)
    until(lambda: channel.pid, "it is there")
    assert os.sched_getaffinity(channel.pid) == {max(here)}
    assert os.sched_getaffinity(0) == here, "whoever opens the pool stays where it is"
    _release(one, channel)


def test_processors_that_cannot_be_had_are_refused_before_the_name_is_taken(
    process_manager: Callable[..., ProcessManager],
) -> None:
    for cpus in ((1023,), (0, 1023)):
        with pytest.raises(
            ConfigError,
            match=r"worker_cpus \(.*1023.*this process may not run on the processors "
            "1023$",
        ):
            process_manager(name="alpha", worker_cpus=cpus)
    assert list_pools() == []


def test_a_start_that_fails_records_nothing(process_manager: Callable[..., ProcessManager]) -> None:
    one = process_manager(worker_command=("no-such-program",))
    with pytest.raises(StartFailed, match="worker 1"):
        one.spawn(1)
    assert list_pools()[0].worker_pids == ()


def test_a_spawned_worker_answers_over_its_channel(process_manager: Callable[..., ProcessManager]) -> None:
    one = process_manager(
        worker_command=(sys.executable, "-m", "poolproof.bridge.worker.program", "--worker-id", "{worker_id}")
    )
    channel = one.spawn(one.next_id())
    channel.handshake(deadline_ns=deadline_ns(10))
    frame = encode_request(1, "pid", {}, limit_bytes=1000)
    response = channel.exchange(1, frame, deadline_ns=deadline_ns(10))
    assert response.result == {"pid": channel.process.pid, "worker_id": 1}
    _release(one, channel)


def test_a_whole_life_leaves_no_descriptor_no_thread_and_no_directory() -> None:
    pools_dir()
    before = Holdings()
    one = ProcessManager(PoolConfig(worker_command=SERVE), version="v9")
    for _ in range(3):
        _release(one, one.spawn(one.next_id()))
    one.shut_down()
    before.require_none_gained()
    assert list(pools_dir().iterdir()) == []


def test_the_owner_may_use_its_crew(process_manager: Callable[..., ProcessManager]) -> None:
    process_manager().require_owner()


def test_a_forked_child_may_not_and_closes_its_copies_while_the_parent_goes_on(
    run_script: Callable[..., subprocess.Popen[str]],
) -> None:
    script = run_script("""
import os, sys
from poolproof.bridge.config import PoolConfig
from poolproof.bridge.processes.process_manager import ProcessManager
from poolproof.bridge.errors import PoolClosed
from poolproof.bridge.processes.rundir.orphans import list_pools
def fds():
    found = {int(fd): os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if int(fd) > 2
             and os.path.lexists(f"/proc/self/fd/{fd}")}
    # A thread may just read what the kernel says about processes and groups.
    return {fd: target for fd, target in found.items() if not target.startswith(("/proc/", "/sys/"))}
before = fds()
gone = ProcessManager(PoolConfig(), version="v9")
gone.shut_down()
process_manager = ProcessManager(PoolConfig(name="alpha", worker_command=("cat",)), version="v9")
channel = process_manager.spawn(1)
child = os.fork()
if child == 0:
    assert fds() == before, (fds(), before)
    try:
        process_manager.require_owner()
    except PoolClosed as error:
        os._exit(0 if "belongs to process" in str(error) else 4)
    os._exit(5)
print(os.waitpid(child, 0)[1], [record.name for record in list_pools()], channel.process.exited(), flush=True)
process_manager.require_owner()
os.write(channel.process.stdin_fd, b"still")
print(os.read(channel.process.stdout_fd, 100))
channel.process.kill()
assert channel.process.exited(10) and channel.process.reap()
process_manager.release(channel)
process_manager.shut_down()
print(fds() == before)
""")
    output, errors = script.communicate(timeout=30)
    assert errors == ""
    assert output.splitlines() == ["0 ['alpha'] False", "b'still'", "True"]


def test_a_fork_of_a_fork_closes_nothing_that_is_not_the_pools(
    run_script: Callable[..., subprocess.Popen[str]],
) -> None:
    script = run_script("""
import os
from poolproof.bridge.config import PoolConfig
from poolproof.bridge.processes.process_manager import ProcessManager
process_manager = ProcessManager(PoolConfig(worker_command=("cat",)), version="v9")
channel = process_manager.spawn(1)
child = os.fork()
if child == 0:
    mine = [os.open("/dev/null", os.O_RDONLY) for _ in range(16)]
    grandchild = os.fork()
    if grandchild == 0:
        for fd in mine:
            os.fstat(fd)
        os._exit(0)
    os._exit(os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
channel.process.kill()
assert channel.process.exited(10) and channel.process.reap()
process_manager.release(channel)
process_manager.shut_down()
""")
    assert script.communicate(timeout=30) == ("0\n", "")


def test_an_interpreter_that_ends_with_the_pool_open_ends_its_workers_and_removes_its_directory(
    run_script: Callable[..., subprocess.Popen[str]], runtime_dir: Path, vanish: Callable[..., None]
) -> None:
    script = run_script("""
from poolproof.bridge.config import PoolConfig
from poolproof.bridge.processes.process_manager import ProcessManager
config = PoolConfig(name="open", worker_command=("sh", "-c", "exec 9>&-; sleep 60"))
process_manager = ProcessManager(config, version="v9")
print(process_manager.spawn(1).process.pid)
""")
    output, errors = script.communicate(timeout=30)
    assert errors == ""
    vanish(int(output))
    assert list((runtime_dir / "pools").iterdir()) == []


def test_a_crew_that_cannot_be_made_whole_gives_its_name_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> None:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr("poolproof.bridge.processes.output.printed.StderrDrain", fail)
        with pytest.raises(OSError, match="Too many"):
            ProcessManager(PoolConfig(name="half-made"), version="v9")
    ProcessManager(PoolConfig(name="half-made"), version="v9").shut_down()


@pytest.mark.parametrize("zygote", [False, True])
def test_threads_per_worker_limits_the_threads_of_numerical_libraries(
    zygote: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MKL_NUM_THREADS", "5")
    config = PoolConfig(workers=1, threads_per_worker=2, zygote=zygote, env={"OPENBLAS_NUM_THREADS": "3"})
    with PoolExecutor(config=config) as executor:
        found = {name: executor.submit(os.getenv, name).result(30) for name in THREAD_VARIABLES}
    expected = dict.fromkeys(THREAD_VARIABLES, "2") | {"MKL_NUM_THREADS": "5", "OPENBLAS_NUM_THREADS": "3"}
    assert found == expected


def test_threads_per_worker_is_a_whole_number() -> None:
    with pytest.raises(ConfigError, match="threads_per_worker 0: must be a whole number from 1 to 1024"):
        PoolConfig(threads_per_worker=0)


@pytest.fixture
def unusable(runtime_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be created below the base, as on a read-only file system; this also holds for root."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("POOLPROOF_RUNTIME_DIR", str(tmp_path / "file" / "base"))


@pytest.mark.usefixtures("unusable")
@pytest.mark.parametrize("pool", [PoolV1, PoolV2])
@pytest.mark.parametrize("command", [DEFAULT_WORKER_COMMAND, None], ids=["default command", "zygote"])
def test_a_pool_without_a_name_needs_no_run_directory(
    pool: type[PoolV1 | PoolV2], command: tuple[str, ...] | None, caplog: pytest.LogCaptureFixture
) -> None:
    if command is None and pool is PoolV1:
        pytest.skip("v1 has no zygote")
    with pool(PoolConfig(workers=1, zygote=command is None)) as one:
        assert one.execute("echo", {"value": 7}) == 7
        threads = [threading.Thread(target=one.execute, args=("sleep", {"seconds": 0.01})) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        with pytest.raises(WorkerCrashed) as caught:
            one.execute("exit", {"code": 3})
        assert "leaving in the middle" in caught.value.stderr_tail
    assert "works without a run directory: cannot use" in caplog.text
    assert list_pools() == []


@pytest.mark.usefixtures("unusable")
def test_a_pool_with_a_name_needs_a_run_directory(process_manager: Callable[..., ProcessManager]) -> None:
    with pytest.raises(ConfigError, match=f"cannot use .*base for run directories: {os.strerror(errno.ENOTDIR)}"):
        process_manager(name="alpha")


def test_the_run_directory_does_not_grow_with_the_workers_that_ever_lived(until: Callable[..., None]) -> None:
    with PoolV2(PoolConfig(name="alpha", workers=1, max_requests=1, zygote=True)) as pool:
        for _ in range(60):
            pool.execute("print", {"bytes": 100, "stream": "stderr"})
        logs = lambda: list((pools_dir() / "alpha").glob("worker-*.stderr.log"))  # noqa: E731
        until(lambda: len(logs()) <= KEPT_LOGS + 2, "the logs of old workers are removed")
        assert logs()

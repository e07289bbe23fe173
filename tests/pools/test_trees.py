"""The whole tree below a worker ends with it, and a program that adopts orphans keeps no zombie."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from poolproof import PoolConfig, PoolV1, PoolV2
from poolproof.bridge import CallTimeout, WorkerCrashed
from poolproof.bridge.machine.groups import Groups
from poolproof.bridge.machine.procfs import pid_space, start_ticks
from poolproof.bridge.machine.tree import descendants, mark_of, started_in
from poolproof.bridge.processes import strays
from poolproof.bridge.processes.rundir.orphans import reap_orphans
from tests.waiting import wait_until, wait_until_gone

COMMANDS = """
import os, signal, subprocess, threading

LEAVES = ("sh", "-c", "sleep 600 & sleep 600")

def family(context, args):
    for session in (False, True):
        subprocess.Popen(LEAVES, start_new_session=session, stdout=2)
    grandchild = "import subprocess; subprocess.Popen(('sleep', '600'), start_new_session=True).wait()"
    subprocess.Popen(("python3", "-c", grandchild), start_new_session=True, stdout=2)
    if args.get("stay"):
        threading.Event().wait()
    if args.get("die"):
        os._exit(1)
    return "begun"

def daemon(context, args):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        grandchild = os.fork()
        if grandchild == 0:
            for fd in (0, 1, 2, writing):
                os.close(fd)
            while True:
                signal.pause()
        os.write(writing, str(grandchild).encode())
        os._exit(0)
    os.waitpid(child, 0)
    return int(os.read(reading, 100))

def crash(context, args):
    os._exit(1)

COMMANDS = {"family": family, "daemon": daemon, "crash": crash}
"""


@pytest.fixture(params=["v1", "v2", "zygote", "v2 without groups", "zygote without groups"])
def pool(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PoolV1 | PoolV2]:
    """A pool of one worker with the command `family`."""
    (tmp_path / "family_commands.py").write_text(COMMANDS)
    monkeypatch.syspath_prepend(str(tmp_path))
    env = {"POOLPROOF_COMMANDS": "family_commands"}
    zygote = request.param.startswith("zygote")
    if request.param.endswith("without groups"):
        monkeypatch.setattr(Groups, "make", lambda: None)
    config = PoolConfig(workers=1, env=env, zygote=zygote, call_timeout_s=30.0)
    with PoolV1(config) if request.param == "v1" else PoolV2(config) as made:
        yield made


def leaves(pool: PoolV1 | PoolV2) -> set[int]:
    """What runs `sleep` below the pool's workers."""
    return {pid for pid, _ in started_in(mark_of(pool.name)) if _runs_sleep(pid)}


def _runs_sleep(pid: int) -> bool:
    try:
        return psutil.Process(pid).name() == "sleep"
    except psutil.NoSuchProcess:
        return False


def begun(pool: PoolV1 | PoolV2) -> set[int]:
    found: set[int] = wait_until(lambda: len(leaves(pool)) == 5 and leaves(pool), "the family has begun")
    return found


def test_a_grandchild_in_a_session_of_its_own_ends_with_the_close(pool: PoolV1 | PoolV2) -> None:
    pool.execute("family")
    family = begun(pool)
    pool.close()
    for pid in family:
        wait_until_gone(pid)
    assert started_in(mark_of(pool.name)) == []


def test_a_grandchild_of_a_worker_that_crashed_ends_soon_and_not_only_with_the_close(pool: PoolV1 | PoolV2) -> None:
    """Nobody can find it by its parents, as its parent is gone."""
    with pytest.raises(WorkerCrashed):
        pool.execute("family", {"die": True})
    assert pool.execute("echo", {"value": 1}) == 1
    wait_until(lambda: not leaves(pool), "the tree has ended, and the pool goes on")
    assert pool.execute("echo", {"value": 1}) == 1


def test_what_a_living_worker_has_started_survives_the_crash_of_another(pool: PoolV1 | PoolV2) -> None:
    pool.execute("family")
    family = begun(pool)
    with pytest.raises(WorkerCrashed):
        pool.execute("crash")
    wait_until(lambda: not leaves(pool), "the tree of the worker that crashed has ended")
    pool.execute("family")
    assert not begun(pool) & family


def test_a_search_for_strays_delays_no_call(pool: PoolV1 | PoolV2, monkeypatch: pytest.MonkeyPatch) -> None:
    searching, go_on = threading.Event(), threading.Event()

    def search(*_: object) -> list[tuple[int, int]]:
        searching.set()
        go_on.wait(60)
        return []

    with monkeypatch.context() as patch:
        patch.setattr(strays, "started_in", search)
        patch.setattr(Groups, "kill", search)
        for _ in range(3):
            with pytest.raises(WorkerCrashed):
                pool.execute("crash")
            assert pool.execute("echo", {"value": 1}) == 1
            assert searching.wait(60)
        go_on.set()


def test_a_daemon_that_a_worker_has_forked_ends_with_a_crash_where_groups_are_permitted(
    pool: PoolV1 | PoolV2,
) -> None:
    """It has executed no program, so its environment is that of the zygote, and its parent is gone."""
    if not permitted():
        pytest.skip("this process may make no control groups, or the pool was told so")
    pool.warm_up()
    own = Path("/proc/self/cgroup").read_text()
    workers = [worker.pid for worker in pool.status().workers]
    wait_until(
        lambda: all(Path(f"/proc/{pid}/cgroup").read_text() != own for pid in workers), "the workers are in groups"
    )
    daemon = pool.execute("daemon")
    assert start_ticks(daemon) is not None
    with pytest.raises(WorkerCrashed):
        pool.execute("crash")
    wait_until_gone(daemon)
    assert pool.execute("echo", {"value": 1}) == 1


def permitted() -> bool:
    """Whether this process may make control groups."""
    groups = Groups.make()
    return groups is not None and groups.remove()


@pytest.mark.parametrize("by", ["the next pool", "reap"])
def test_the_groups_of_a_pool_whose_program_was_killed_are_removed(by: str) -> None:
    if not permitted():
        pytest.skip("this process may not make control groups")
    code = (
        "import time; from poolproof import PoolConfig, PoolV2\n"
        "pool = PoolV2(PoolConfig(workers=1)); pool.execute('echo', {'value': 1})\n"
        "print(pool._engine.process_manager._strays._groups.path, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        path = Path(program.stdout.readline().strip())
        assert path.is_dir()
        with PoolV2(PoolConfig(workers=1)) as pool:
            pool.execute("echo", {"value": 1})
        assert path.is_dir(), "its owner lives"
        program.kill()
    if by == "reap":
        wait_until(lambda: reap_orphans() == [] and not path.exists(), "the groups are removed")
        return
    with PoolV2(PoolConfig(workers=1)):
        wait_until(lambda: not path.exists(), "the groups are removed")


def test_the_tree_of_a_worker_that_timed_out_ends_with_it(pool: PoolV1 | PoolV2) -> None:
    if isinstance(pool, PoolV1):
        pytest.skip("a timeout of v1 ends only the wait of its caller")
    with pytest.raises(CallTimeout):
        pool.execute("family", {"stay": True}, timeout_s=3.0)
    wait_until(lambda: not leaves(pool), "the tree has ended, and the pool goes on")
    assert pool.execute("echo", {"value": 1}) == 1


def test_the_tree_of_a_pool_whose_program_was_killed_ends_with_reap(tmp_path: Path) -> None:
    (tmp_path / "family_commands.py").write_text(COMMANDS)
    code = (
        "import os, time; from poolproof import PoolConfig, PoolV2\n"
        "pool = PoolV2(PoolConfig(workers=1, name='killed-family', env={'POOLPROOF_COMMANDS': 'family_commands'}))\n"
        "pool.execute('family'); print('begun', flush=True); time.sleep(600)"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=env) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "begun\n"
        mark = mark_of("killed-family", (pid_space(), program.pid, start_ticks(program.pid) or 0))
        assert started_in(mark)
        program.kill()
    assert "killed-family" in [pool.name for pool in reap_orphans()]
    wait_until(lambda: not started_in(mark), "nothing is left")


def test_descendants_are_found_by_their_parents() -> None:
    with subprocess.Popen(("sh", "-c", "sleep 600 & sleep 600")) as parent:
        wait_until(lambda: len(descendants(parent.pid)) == 2, "both have begun")
        for child, _ in descendants(parent.pid):
            os.kill(child, 9)
    assert descendants(parent.pid) == []


ADOPTER = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
import psutil
from poolproof import PoolConfig, PoolV1, PoolV2
from poolproof.bridge import PoolError
from tests.waiting import wait_until

def zombies():
    return [child for child in psutil.Process().children() if child.status() == psutil.STATUS_ZOMBIE]

kind, zygote = sys.argv[1], sys.argv[2] == "zygote"
config = PoolConfig(workers=1, zygote=zygote, env={"POOLPROOF_COMMANDS": "family_commands"})
with PoolV1(config) if kind == "v1" else PoolV2(config) as pool:
    try:
        pool.execute("family", {"die": True} if kind == "v1" else {"stay": True}, timeout_s=3.0)
    except PoolError as error:
        print(type(error).__name__)
    pool.execute("echo", {"value": 1}, timeout_s=30.0)
    wait_until(lambda: not zombies(), "no zombie is left beside an open pool")
print(psutil.Process().children(recursive=True))
"""


@pytest.mark.parametrize(("kind", "start"), [("v1", "spawn"), ("v2", "spawn"), ("v2", "zygote")])
def test_a_program_that_adopts_orphans_reaps_them(kind: str, start: str, tmp_path: Path) -> None:
    (tmp_path / "family_commands.py").write_text(COMMANDS)
    root = Path(__file__).parents[2]
    path = os.pathsep.join([str(tmp_path), str(root), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", ADOPTER, kind, start],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.stdout.splitlines(), done.stderr) == (["WorkerCrashed" if kind == "v1" else "CallTimeout", "[]"], "")


def test_a_pool_of_the_same_name_below_another_base_is_not_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "import sys; from poolproof import PoolConfig, PoolV2\nPoolV2(PoolConfig(name='twin', workers=1)).close()"
    monkeypatch.setenv("POOLPROOF_RUNTIME_DIR", str(tmp_path / "first"))
    with PoolV2(PoolConfig(name="twin", workers=1)) as pool:
        pool.warm_up()
        before = pool.status().workers
        env = os.environ | {"POOLPROOF_RUNTIME_DIR": str(tmp_path / "second")}
        subprocess.run([sys.executable, "-c", code], env=env, timeout=60, check=True)
        assert pool.execute("echo", {"value": 1}) == 1
        assert [worker.pid for worker in pool.status().workers] == [worker.pid for worker in before]

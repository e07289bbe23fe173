"""Dead pools: found, told apart from the living, and cleared away without harm to any other process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from poolproof.bridge.errors import PoolNameConflict
from poolproof.bridge.machine.procfs import is_alive, pid_space, start_ticks
from poolproof.bridge.processes.rundir import directory, workers
from poolproof.bridge.processes.rundir.base import pools_dir
from poolproof.bridge.processes.rundir.orphans import PoolRecord, Reaped, list_pools, reap_orphans
from poolproof.bridge.processes.rundir.rundir import RunDir

pytestmark = pytest.mark.usefixtures("runtime_dir")

Orphan = Callable[[], tuple[int, int]]
DeadPool = Callable[..., Path]

FORKED = """
import os, sys, threading
from poolproof.bridge.processes.rundir.rundir import RunDir
owned = RunDir.claim("alpha", version="v2")
ready, go = os.pipe()
child = os.fork()
if child == 0:
    os.write(go, b"x")
    for fd in (0, 1, 2):
        os.close(fd)
    threading.Event().wait(30)
    os._exit(0)
os.read(ready, 1)
print(child, flush=True)
sys.stdin.readline()
"""


def test_only_workers_whose_owner_is_gone_are_ended(dead_pool: DeadPool, orphan: Orphan) -> None:
    left, kept = orphan(), orphan()
    dead_pool("dead", f"+{left[0]} {left[1]}\n")
    owned = RunDir.claim("living", version="v2")
    owned.add_worker(kept[0])
    reaped = reap_orphans()
    assert [(pool.name, pool.killed) for pool in reaped] == [("dead", (left[0],))]
    assert not is_alive(*left)
    assert is_alive(*kept)
    assert [path.name for path in pools_dir().iterdir()] == ["living"]
    owned.release()


def test_a_process_that_got_the_pid_of_a_worker_is_left_alone(dead_pool: DeadPool, orphan: Orphan) -> None:
    pid, ticks = orphan()
    dead_pool("dead", f"+{pid} {ticks - 1}\n")
    assert list_pools()[0].worker_pids == ()
    assert [pool.killed for pool in reap_orphans()] == [()]
    assert is_alive(pid, ticks)


def test_a_buried_worker_is_not_ended_again(dead_pool: DeadPool, orphan: Orphan) -> None:
    pid, ticks = orphan()
    dead_pool("dead", f"+{pid} {ticks}\n-{pid}\n")
    assert [pool.killed for pool in reap_orphans()] == [()]
    assert is_alive(pid, ticks)


def test_a_process_that_got_the_pid_of_the_owner_is_not_the_owner(dead_pool: DeadPool) -> None:
    ticks = start_ticks(os.getpid())
    assert ticks is not None
    manifest = b'{"name":"dead","version":"v1","pid":%d,"start_ticks":%d,"created_at":"x"}' % (os.getpid(), ticks - 1)
    dead_pool("dead", manifest=manifest)
    assert not list_pools()[0].owner_alive
    assert [pool.name for pool in reap_orphans()] == ["dead"]


def test_reaping_tells_whose_pool_it_was(dead_pool: DeadPool, dead_process: tuple[int, int]) -> None:
    path = dead_pool("dead")
    assert reap_orphans() == [Reaped(name="dead", owner_pid=dead_process[0], killed=())]
    assert not path.exists()
    assert reap_orphans() == []


def test_pools_are_listed_by_name_the_dead_ones_too(
    dead_pool: DeadPool, orphan: Orphan, dead_process: tuple[int, int]
) -> None:
    pid, ticks = orphan()
    dead_pool("zeta", f"+{pid} {ticks}\n+{dead_process[0]} {dead_process[1]}\n")
    owned = RunDir.claim("alpha", version="v2")
    alive, dead = list_pools()
    assert (alive.name, alive.version, alive.owner_pid, alive.owner_alive) == ("alpha", "v2", os.getpid(), True)
    assert dead == PoolRecord(
        name="zeta",
        version="v9",
        owner_pid=dead_process[0],
        owner_alive=False,
        created_at="2020-01-01",
        worker_pids=(pid,),
    )
    owned.release()


def test_no_pools_are_an_empty_list() -> None:
    assert list_pools() == []
    assert reap_orphans() == []


TORN = ["+", "+{pid}", "+{pid} {ticks} 7", "+{pid} 12x", "-", "-x", "\0\0\0", "", "*{pid} {ticks}", "+-{pid} {ticks}"]


@pytest.mark.parametrize("torn", TORN)
def test_a_torn_line_costs_only_itself(dead_pool: DeadPool, orphan: Orphan, torn: str) -> None:
    (first, first_ticks), (second, second_ticks) = orphan(), orphan()
    torn = torn.format(pid=first, ticks=first_ticks)
    dead_pool("dead", f"{torn}\n+{second} {second_ticks}\n{torn}")
    assert list_pools()[0].worker_pids == (second,)
    assert reap_orphans()[0].killed == (second,)
    assert is_alive(first, first_ticks)


def test_bytes_that_are_no_text_cost_only_their_line(dead_pool: DeadPool, orphan: Orphan) -> None:
    pid, ticks = orphan()
    path = dead_pool("dead")
    (path / "workers").write_bytes(b"\xff\xfe\n+%d %d\n" % (pid, ticks))
    assert list_pools()[0].worker_pids == (pid,)
    assert reap_orphans()[0].killed == (pid,)


@pytest.mark.parametrize("manifest", [b"", b"{", b"[]", b'{"name": 1}', b'{"name": "\xff"}'])
def test_a_torn_manifest_is_a_pool_of_nobody_that_is_reaped_once_its_lock_is_free(
    dead_pool: DeadPool, manifest: bytes
) -> None:
    dead_pool("dead", manifest=manifest)
    assert list_pools() == [
        PoolRecord(name="dead", version="?", owner_pid=0, owner_alive=False, created_at="?", worker_pids=())
    ]
    assert [pool.name for pool in reap_orphans()] == ["dead"]
    assert list_pools() == []


def test_a_directory_without_manifest_whose_lock_is_held_is_being_made(dead_pool: DeadPool) -> None:
    owned = RunDir.claim("alpha", version="v2")
    (owned.path / "manifest.json").unlink()
    assert [(record.name, record.owner_alive) for record in list_pools()] == [("alpha", True)]
    assert reap_orphans() == []
    assert owned.path.exists()
    owned.release()


def test_an_empty_directory_is_left_for_its_maker() -> None:
    # Between making the directory and its lock, its maker has nothing to show yet.
    (pools_dir() / "alpha").mkdir()
    assert list_pools() == []
    assert reap_orphans() == []
    RunDir.claim("alpha", version="v2").release()


def test_what_is_no_directory_is_passed_over() -> None:
    (pools_dir() / "file").write_text("")
    assert list_pools() == []
    assert reap_orphans() == []


@pytest.mark.parametrize("manifest", [None, b""], ids=["whole", "torn"])
def test_a_name_that_gets_a_new_owner_during_a_reaping_is_not_reaped(
    dead_pool: DeadPool, monkeypatch: pytest.MonkeyPatch, manifest: bytes | None
) -> None:
    dead_pool("alpha", manifest=manifest)
    owned: list[RunDir] = []
    lock: Any = vars(directory)["lock_file"]

    def meanwhile(fd: int, **options: Any) -> bool:
        patch.undo()
        owned.append(RunDir.claim("alpha", version="v2"))
        return lock(fd, **options)

    with monkeypatch.context() as patch:
        # The reaper has opened the directory, and not locked it yet.
        patch.setattr(directory, "lock_file", meanwhile)
        assert reap_orphans() == []
    assert [(record.version, record.owner_alive) for record in list_pools()] == [("v2", True)]
    owned[0].release()


def test_a_dead_pool_that_another_reaps_between_two_looks_is_not_reaped_twice(
    dead_pool: DeadPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead_pool("dead")
    rename = Path.rename
    others: list[list[Reaped]] = []

    def meanwhile(path: Path, target: Path) -> Path:
        patch.undo()
        others.append(reap_orphans())
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", meanwhile)
        assert reap_orphans() == []
    assert [[pool.name for pool in reaped] for reaped in others] == [["dead"]]
    assert list(pools_dir().iterdir()) == []


def test_what_was_set_aside_by_a_claim_that_died_is_reaped_but_is_no_pool_of_the_list(
    dead_pool: DeadPool, orphan: Orphan
) -> None:
    pid, ticks = orphan()
    dead_pool(".alpha.0123abcd", f"+{pid} {ticks}\n")
    assert list_pools() == []
    assert [pool.killed for pool in reap_orphans()] == [(pid,)]
    assert list(pools_dir().iterdir()) == []


def test_a_pool_whose_lock_is_held_is_alive_whatever_its_manifest_says(dead_process: tuple[int, int]) -> None:
    # As from another PID namespace, in which the owner's pid does not exist or belongs to another process.
    owned = RunDir.claim("alpha", version="v2")
    manifest = owned.path / "manifest.json"
    told = msgspec.json.decode(manifest.read_bytes())
    for pid, ticks in (dead_process, (os.getpid(), 1), (1, 1), (-5, -5)):
        manifest.write_bytes(msgspec.json.encode(told | {"pid": pid, "start_ticks": ticks}))
        assert [(record.owner_pid, record.owner_alive) for record in list_pools()] == [(pid, True)]
        assert reap_orphans() == []
        with pytest.raises(PoolNameConflict):
            RunDir.claim("alpha", version="v2")
    owned.release()


def test_a_living_pool_is_not_reaped_from_another_pid_namespace() -> None:
    inside = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]
    if os.geteuid() == 0:
        inside = ["unshare", "--pid", "--fork", "--mount-proc"]
    if subprocess.run([*inside, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine allows no PID namespace")
    owned = RunDir.claim("alpha", version="v2")
    code = """if True:
        from poolproof.bridge.processes.rundir import orphans
        print([record.owner_alive for record in orphans.list_pools()], orphans.reap_orphans())"""
    # In the user namespace this user is root, and so still the owner of the directory.
    done = subprocess.run([*inside, sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout == "[True] []\n"
    assert owned.path.exists()
    owned.release()


def test_workers_of_another_pid_namespace_are_not_signalled(dead_pool: DeadPool, orphan: Orphan) -> None:
    # Its pids belong to other processes here; its workers end with the lifeline.
    pid, ticks = orphan()
    path = dead_pool("dead", f"+{pid} {ticks}\n")
    told = msgspec.json.decode((path / "manifest.json").read_bytes())
    (path / "manifest.json").write_bytes(msgspec.json.encode(told | {"pid_space": "another"}))
    assert list_pools()[0].worker_pids == ()
    assert [pool.killed for pool in reap_orphans()] == [()]
    assert is_alive(pid, ticks)


def _manifest(**fields: object) -> bytes:
    told = {"name": "dead", "version": "v2", "pid": 7, "start_ticks": 7, "created_at": "x", "pid_space": pid_space()}
    return msgspec.json.encode(told | fields)


CONTENTS = {
    "empty": b"",
    "garbage": b"\xff\xfe\x00{",
    "deep": b"[" * 100_000,
    "huge": b" " * 20_000_000,
    "list": b"[]",
    "wrong types": _manifest(pid="7", version=7),
    "negative pid": _manifest(pid=-7),
    "pid 1": _manifest(pid=1),
    "own pid": _manifest(pid=os.getpid()),
    "huge pid": _manifest(pid=10**18),
    "other name": _manifest(name="../../precious"),
    "FIFO": None,
    "directory": None,
    "link": None,
    "link to /dev/zero": None,
    "missing": None,
}


@pytest.mark.parametrize("file", ["manifest.json", "workers"])
@pytest.mark.parametrize("content", CONTENTS)
def test_a_dead_pool_is_reaped_whatever_its_files_are(dead_pool: DeadPool, file: str, content: str) -> None:
    path = dead_pool("dead")
    (path / file).unlink()
    match content:
        case "FIFO":
            os.mkfifo(path / file)
        case "directory":
            (path / file / "deep").mkdir(parents=True)
        case "link":
            (path / file).symlink_to("/etc/passwd")
        case "link to /dev/zero":
            (path / file).symlink_to("/dev/zero")
        case "missing":
            pass
        case _:
            data = CONTENTS[content]
            assert data is not None
            (path / file).write_bytes(data)
    assert [(record.name, record.owner_alive) for record in list_pools()] == [("dead", False)]
    assert [(pool.name, pool.killed) for pool in reap_orphans()] == [("dead", ())]
    assert list(pools_dir().iterdir()) == []


@pytest.mark.parametrize("pid", ["1", "0", "-1", "own", "parent's", "9" * 5000, "4" * 12])
def test_a_damaged_record_leads_to_no_signal(dead_pool: DeadPool, pid: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "is_alive", lambda *_: True)
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(directory, "kill_groups", lambda processes, **_: told.extend(processes) or ())
    pid = {"own": str(os.getpid()), "parent's": str(os.getppid())}.get(pid, pid)
    dead_pool("dead", f"+{pid} 5\n")
    assert list_pools()[0].worker_pids == ()
    assert [pool.name for pool in reap_orphans()] == ["dead"]
    assert told == []


@pytest.fixture
def forked_holder(run_script: Callable[..., subprocess.Popen[str]]) -> int:
    """The forked child of a pool's owner: the owner is dead, and the child lives."""
    script = run_script(FORKED)
    assert script.stdout is not None
    child = int(script.stdout.readline())
    script.kill()
    script.wait(10)
    return child


def test_a_forked_child_of_a_dead_owner_keeps_neither_the_name_nor_the_directory(forked_holder: int) -> None:
    try:
        assert [(record.name, record.owner_alive) for record in list_pools()] == [("alpha", False)]
        owned = RunDir.claim("alpha", version="v1")
        with pytest.raises(PoolNameConflict):
            RunDir.claim("alpha", version="v1")
        owned.release()
        assert start_ticks(forked_holder) is not None
    finally:
        os.kill(forked_holder, signal.SIGKILL)


def test_a_dead_pool_is_reaped_though_a_forked_child_of_its_owner_lives(forked_holder: int) -> None:
    try:
        assert [pool.name for pool in reap_orphans()] == ["alpha"]
        assert list_pools() == []
        assert start_ticks(forked_holder) is not None
    finally:
        os.kill(forked_holder, signal.SIGKILL)

"""Run directories: one owner a name, a private place, and a record of workers that survives torn lines."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from poolproof.bridge.errors import ConfigError, PoolNameConflict
from poolproof.bridge.machine.file_lock import lock_file
from poolproof.bridge.machine.procfs import pid_space, start_ticks
from poolproof.bridge.processes.rundir import directory, rundir
from poolproof.bridge.processes.rundir.base import base_dir, pools_dir
from poolproof.bridge.processes.rundir.orphans import list_pools, reap_orphans
from poolproof.bridge.processes.rundir.rundir import RunDir
from tests.waiting import Holdings

Orphan = Callable[[], tuple[int, int]]
pytestmark = pytest.mark.usefixtures("runtime_dir")

OWNER = """
import sys
from poolproof.bridge.processes.rundir.rundir import RunDir
owned = RunDir.claim(sys.argv[1], version="v2")
for pid in sys.argv[2:]:
    owned.add_worker(int(pid))
print("owned", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def owner(run_script: Callable[..., subprocess.Popen[str]]) -> Callable[..., subprocess.Popen[str]]:
    """Another process that owns the name."""

    def start(name: str, *workers: int) -> subprocess.Popen[str]:
        script = run_script(OWNER, name, *map(str, workers))
        assert script.stdout is not None
        assert script.stdout.readline() == "owned\n"
        return script

    return start


def _names() -> list[str]:
    return sorted(path.name for path in pools_dir().iterdir())


def test_a_claimed_name_has_a_private_directory_that_tells_its_owner() -> None:
    owned = RunDir.claim("alpha", version="v2")
    manifest = json.loads((owned.path / "manifest.json").read_text())
    assert owned.path == pools_dir() / "alpha"
    assert owned.path.stat().st_mode & 0o777 == 0o700
    assert manifest.pop("created_at")
    assert manifest == {
        "name": "alpha", "version": "v2", "pid": os.getpid(), "start_ticks": start_ticks(os.getpid()),
        "pid_space": pid_space(),
    }  # fmt: skip
    assert sorted(path.name for path in owned.path.iterdir()) == ["manifest.json", "workers"]
    owned.release()


def test_a_second_owner_in_the_same_program_gets_a_conflict() -> None:
    owned = RunDir.claim("alpha", version="v2")
    with pytest.raises(
        PoolNameConflict,
        match=rf"'alpha' is taken: process {os.getpid()} \(v2\) owns a pool of "
        "this name",
    ):
        RunDir.claim("alpha", version="v1")
    assert (owned.path / "manifest.json").exists()
    owned.release()


def test_a_second_owner_in_another_program_gets_a_conflict_until_the_first_is_gone(
    owner: Callable[..., subprocess.Popen[str]],
) -> None:
    script = owner("alpha")
    with pytest.raises(PoolNameConflict, match=f"process {script.pid}"):
        RunDir.claim("alpha", version="v1")
    script.kill()
    script.wait(10)
    RunDir.claim("alpha", version="v1").release()


def test_a_name_that_is_being_made_is_taken_by_another_process() -> None:
    owned = RunDir.claim("alpha", version="v2")
    (owned.path / "manifest.json").unlink()
    with pytest.raises(PoolNameConflict, match="another process owns a pool of this name"):
        RunDir.claim("alpha", version="v2")
    owned.release()


def test_a_released_name_is_free_and_leaves_nothing() -> None:
    pools_dir()
    before = Holdings()
    owned = RunDir.claim("alpha", version="v2")
    (owned.path / "worker-1.stderr.log").write_text("words")
    owned.release()
    owned.release()
    assert _names() == []
    before.require_none_gained()
    RunDir.claim("alpha", version="v2").release()


def test_a_conflict_leaves_no_descriptor() -> None:
    owned = RunDir.claim("alpha", version="v2")
    before = Holdings()
    with pytest.raises(PoolNameConflict):
        RunDir.claim("alpha", version="v2")
    before.require_none_gained()
    owned.release()


def test_of_many_that_claim_one_name_at_once_exactly_one_gets_it() -> None:
    barrier = threading.Barrier(12)
    owned: list[RunDir] = []
    refused: list[PoolNameConflict] = []

    def claim() -> None:
        barrier.wait(10)
        try:
            owned.append(RunDir.claim("alpha", version="v2"))
        except PoolNameConflict as error:
            refused.append(error)

    threads = [threading.Thread(target=claim) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert (len(owned), len(refused)) == (1, 11)
    owned[0].release()


def test_names_that_come_and_go_never_have_two_owners() -> None:
    # A name is released while others wait for it: whoever gets it must own the directory that is there now.
    inside = threading.Semaphore(1)
    broken: list[str] = []
    served = [0] * 4

    def cycle(number: int) -> None:
        while served[number] < 25:
            try:
                owned = RunDir.claim("alpha", version="v2")
            except PoolNameConflict:
                continue
            if not inside.acquire(blocking=False):
                broken.append("two owners")
                return
            if not (owned.path / "manifest.json").exists():
                broken.append("a directory that its former owner still removes")
            served[number] += 1
            inside.release()
            owned.release()

    threads = [threading.Thread(target=cycle, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert broken == []
    assert served == [25] * 4


def test_a_dead_owners_directory_is_taken_over_and_its_workers_are_ended(
    dead_pool: Callable[..., Path], orphan: Callable[[], tuple[int, int]]
) -> None:
    pid, ticks = orphan()
    path = dead_pool("alpha", f"+{pid} {ticks}\n")
    (path / "worker-1.stderr.log").write_text("old words")
    owned = RunDir.claim("alpha", version="v2")
    assert start_ticks(pid) is None
    assert (path / "workers").read_text() == ""
    assert not (path / "worker-1.stderr.log").exists()
    assert [(record.name, record.owner_pid) for record in list_pools()] == [("alpha", os.getpid())]
    owned.release()


def test_nobody_else_takes_a_dead_name_while_its_new_owner_ends_the_old_workers(
    dead_pool: Callable[..., Path],
    orphan: Callable[[], tuple[int, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Ending the workers may take seconds; the directory still told of the dead owner in that time.
    pid, ticks = orphan()
    dead_pool("alpha", f"+{pid} {ticks}\n")
    seen: list[int] = []
    kill: Any = vars(directory)["kill_groups"]

    def meanwhile(processes: Any, **options: Any) -> tuple[int, ...]:
        patch.undo()
        with pytest.raises(PoolNameConflict):
            RunDir.claim("alpha", version="v1")
        seen.extend(pool.owner_pid for pool in reap_orphans())
        return kill(processes, **options)

    with monkeypatch.context() as patch:
        patch.setattr(directory, "kill_groups", meanwhile)
        owned = RunDir.claim("alpha", version="v2")
    assert seen == [], "the claim clears what the dead pool left, and nobody else"
    assert start_ticks(pid) is None
    assert [(record.version, record.owner_alive) for record in list_pools()] == [("v2", True)]
    with pytest.raises(PoolNameConflict):
        RunDir.claim("alpha", version="v1")
    owned.release()


def test_workers_are_recorded_until_they_are_buried(orphan: Callable[[], tuple[int, int]]) -> None:
    (first, _), (second, _) = orphan(), orphan()
    owned = RunDir.claim("alpha", version="v2")
    owned.add_worker(first)
    owned.add_worker(second)
    assert list_pools()[0].worker_pids == (first, second)
    owned.remove_worker(first)
    assert list_pools()[0].worker_pids == (second,)
    owned.release()


def test_a_worker_that_cannot_be_recorded_costs_only_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    owned = RunDir.claim("alpha", version="v2")

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        owned.add_worker(os.getpid())
    assert list_pools()[0].worker_pids == ()
    owned.release()


def test_a_claim_that_fails_half_way_gives_the_name_back(monkeypatch: pytest.MonkeyPatch) -> None:
    pools_dir()
    before = Holdings()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(ConfigError, match="alpha as a run directory: No space left on device"):
            RunDir.claim("alpha", version="v2")
    before.require_none_gained()
    RunDir.claim("alpha", version="v2").release()


def test_what_a_dead_pool_left_is_no_hindrance_whatever_it_is(dead_pool: Callable[..., Path]) -> None:
    path = dead_pool("alpha")
    (path / "deep" / "deeper").mkdir(parents=True)
    RunDir.claim("alpha", version="v2").release()
    assert _names() == []


@pytest.mark.parametrize("link", [False, True], ids=["file", "link to nowhere"])
def test_what_is_no_directory_under_the_name_is_refused_as_a_place(link: bool) -> None:
    if link:
        (pools_dir() / "alpha").symlink_to("nowhere")
    else:
        (pools_dir() / "alpha").write_text("")
    with pytest.raises(ConfigError, match="alpha"):
        RunDir.claim("alpha", version="v2")


def test_a_base_that_vanishes_meanwhile_is_an_error_and_not_a_long_wait(
    runtime_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rundir, "pools_dir", lambda: runtime_dir / "gone")
    with pytest.raises(ConfigError, match=os.strerror(errno.ENOENT)):
        RunDir.claim("alpha", version="v2")


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777, 0o722])
def test_a_base_that_others_may_write_to_is_refused(runtime_dir: Path, mode: int) -> None:
    runtime_dir.chmod(mode)
    with pytest.raises(ConfigError, match=f"must belong to this user.*mode {mode:o}"):
        pools_dir()


@pytest.mark.parametrize("mode", [0o700, 0o755])
def test_a_base_that_only_its_user_may_write_to_is_used(runtime_dir: Path, mode: int) -> None:
    runtime_dir.chmod(mode)
    assert pools_dir() == runtime_dir / "pools"
    assert pools_dir().stat().st_mode & 0o777 == 0o700


def test_a_base_of_another_user_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    other = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)
    with pytest.raises(ConfigError, match=f"its owner is {other - 1}"):
        pools_dir()


@pytest.mark.parametrize("part", ["base", "pools"])
def test_a_link_in_place_of_the_base_is_refused_and_what_it_leads_to_stays(
    runtime_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    # Whoever can plant such a link would let this user's pools delete this user's directories elsewhere.
    victim = tmp_path / "victim"
    (victim / "pools" / "alpha").mkdir(parents=True, mode=0o700)
    (victim / "pools" / "alpha" / "precious").write_text("words")
    if part == "base":
        monkeypatch.setenv("POOLPROOF_RUNTIME_DIR", str(tmp_path / "link"))
        (tmp_path / "link").symlink_to(victim)
    else:
        (runtime_dir / "pools").symlink_to(victim / "pools")
    for use in (lambda: RunDir.claim("alpha", version="v2"), list_pools, reap_orphans):
        with pytest.raises(ConfigError, match="must be a directory of this user, but is a link"):
            use()
    assert (victim / "pools" / "alpha" / "precious").read_text() == "words"


def test_a_link_in_place_of_a_pools_directory_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "precious").write_text("words")
    (pools_dir() / "alpha").symlink_to(victim)
    with pytest.raises(ConfigError, match="alpha as a run directory"):
        RunDir.claim("alpha", version="v2")
    assert (list_pools(), reap_orphans()) == ([], [])
    assert (victim / "precious").read_text() == "words"


def test_a_base_that_every_user_could_replace_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    monkeypatch.setenv("POOLPROOF_RUNTIME_DIR", str(shared / "run"))
    shared.chmod(0o777)
    with pytest.raises(ConfigError, match=r"every user may write to .*shared, whose mode 777 lacks the sticky bit"):
        pools_dir()
    shared.chmod(0o1777)
    assert pools_dir() == shared / "run" / "pools"


def test_a_relative_base_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POOLPROOF_RUNTIME_DIR", "run")
    with pytest.raises(ConfigError, match="POOLPROOF_RUNTIME_DIR 'run': must be an absolute path"):
        pools_dir()


def test_a_base_that_is_a_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("POOLPROOF_RUNTIME_DIR", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match=r"cannot use .*file for run directories"):
        pools_dir()


def test_the_base_depends_on_the_user_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A service, a cron job and a login shell of one user differ in these variables, and must see the same pools.
    monkeypatch.delenv("POOLPROOF_RUNTIME_DIR")
    for value in (None, str(tmp_path), "/nowhere"):
        for name in ("XDG_RUNTIME_DIR", "TMPDIR", "HOME"):
            monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)
        assert base_dir() == Path(f"/tmp/poolproof-{os.geteuid()}")


def test_no_pools_are_listed_where_no_directory_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POOLPROOF_RUNTIME_DIR", str(tmp_path / "missing"))
    assert (list_pools(), reap_orphans()) == ([], [])
    assert not (tmp_path / "missing").exists()


def test_an_owner_whose_directory_was_removed_leaves_the_next_owners_alone(orphan: Orphan) -> None:
    first = RunDir.claim("alpha", version="v1")
    shutil.rmtree(first.path)
    second = RunDir.claim("alpha", version="v2")
    files = sorted(path.name for path in second.path.iterdir())
    first.add_worker(orphan()[0])
    with pytest.raises(ConfigError, match="alpha as a run directory"):
        first.make_reply_dir()
    first.release()
    assert sorted(path.name for path in second.path.iterdir()) == files
    assert [(record.version, record.owner_alive, record.worker_pids) for record in list_pools()] == [("v2", True, ())]
    second.release()


def test_reply_pipes_have_a_directory_that_no_other_owner_of_the_name_gets() -> None:
    first = RunDir.claim("alpha", version="v2")
    one = first.make_reply_dir()
    first.release()
    second = RunDir.claim("alpha", version="v2")
    other = second.make_reply_dir()
    assert one != other
    assert other.parent == second.path
    second.release()


def test_the_record_of_workers_does_not_grow_with_every_worker_that_ever_lived(orphan: Orphan) -> None:
    owned = RunDir.claim("alpha", version="v2")
    (first, _), (last, _) = orphan(), orphan()
    owned.add_worker(first)
    for _ in range(3000):
        owned.add_worker(os.getpid())
        owned.remove_worker(os.getpid())
    owned.add_worker(last)
    assert (owned.path / "workers").stat().st_size < 8192
    assert list_pools()[0].worker_pids == (first, last)
    assert sorted(path.name for path in owned.path.iterdir()) == ["manifest.json", "workers"]
    owned.release()


def test_a_record_that_cannot_be_rewritten_goes_on_as_it_was(orphan: Orphan, monkeypatch: pytest.MonkeyPatch) -> None:
    owned = RunDir.claim("alpha", version="v2")
    (first, _) = orphan()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        for _ in range(300):
            owned.add_worker(first)
            owned.remove_worker(first)
    owned.add_worker(first)
    assert list_pools()[0].worker_pids == (first,)
    owned.release()


def test_a_name_is_not_refused_because_somebody_looks(dead_pool: Callable[..., Path]) -> None:
    fd = os.open(dead_pool("alpha"), os.O_RDONLY)
    assert lock_file(fd, shared=True)
    thread = threading.Timer(0.1, os.close, (fd,))
    thread.start()
    RunDir.claim("alpha", version="v2").release()
    thread.join()

"""The doctor tries things out, and an examination that breaks is a finding like any other."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from poolproof.bridge.machine.groups import Groups
from poolproof.bridge.processes.strays import Strays
from poolproof.harness.cli import doctor, worker_checks
from poolproof.harness.cli.app import main
from poolproof.harness.cli.commands.machine import doctor as doctor_module
from poolproof.migration import Position, StateFile


def test_every_point_is_tried_here_and_found_well() -> None:
    found = doctor.examine()
    assert [point.name for point in found if not point.well] == []
    assert len(found) == 15


def test_what_is_wrong_is_told_point_by_point(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setattr(sys, "platform", "plan9")
    monkeypatch.setattr(doctor, "PACKAGES", ("msgspec", "no-such-package"))
    monkeypatch.setattr(resource, "getrlimit", lambda _: (64, 64))
    monkeypatch.setattr(doctor, "PoolConfig", lambda: msgspec.structs.replace(_config(), worker_command="false"))
    monkeypatch.setattr(doctor, "ORPHAN", "import sys; print('no number', flush=True)")
    found = {point.name: point for point in doctor.examine()}
    assert {name for name, point in found.items() if not point.well} == {
        "system",
        "packages",
        "file descriptors",
        "a worker starts and answers",
        "a worker ends when its parent is killed",
    }
    assert found["packages"].found == "missing: no-such-package"
    assert "may open 64 " in found["file descriptors"].found
    assert found["a worker ends when its parent is killed"].found.startswith("ValueError")


def test_a_worker_that_outlives_its_parent_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "ORPHAN", "import os, time; print(os.getppid(), flush=True); time.sleep(60)")
    monkeypatch.setattr(doctor, "ORPHAN_PATIENCE_S", 0.05)
    [point] = [point for point in doctor.examine() if point.name == "a worker ends when its parent is killed"]
    assert not point.well
    assert "still ran" in point.found


@pytest.mark.parametrize("wrong", ["link", "open to all", "cannot be made"])
def test_a_place_where_no_pool_can_be_named_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    base = tmp_path / "base"
    match wrong:
        case "link":
            (tmp_path / "real").mkdir(mode=0o700)
            base.symlink_to(tmp_path / "real")
        case "open to all":
            base.mkdir()
            base.chmod(0o777)
        case _:
            (tmp_path / "file").write_text("")
            base = tmp_path / "file" / "base"
    monkeypatch.setenv("POOLPROOF_RUNTIME_DIR", str(base))
    found = {point.name: point for point in doctor.examine()}
    assert {name for name, point in found.items() if not point.well} == {"run directories"}
    assert str(base) in found["run directories"].found
    assert "let POOLPROOF_RUNTIME_DIR name a directory of this user's own" in found["run directories"].found


def test_a_temporary_folder_that_cannot_be_written_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    found = {point.name: point for point in doctor.examine()}
    assert not found["temporary folder"].well
    assert "let TMPDIR name a folder" in found["temporary folder"].found


def test_a_file_that_has_the_name_of_a_module_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "no module in" in worker_checks.current_folder()[1]
    (tmp_path / "signal.py").write_text("raise SystemExit")
    (tmp_path / "json").mkdir()
    (tmp_path / "json" / "__init__.py").write_text("raise SystemExit")
    (tmp_path / "mine.py").write_text("")
    well, found = worker_checks.current_folder()
    assert well
    assert found.startswith("json, signal.py in ")
    assert doctor._worker()[0], "a worker starts there all the same"


def test_a_current_folder_that_was_removed_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert worker_checks.current_folder() == (
        False,
        "it cannot be read: No such file or directory; workers start in it",
    )


def test_processors_are_counted_by_affinity_and_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_checks, "cpu_quota", lambda: 0.5)
    monkeypatch.setattr(worker_checks, "usable_processors", lambda: 1)
    well, found = worker_checks.processors()
    assert well
    assert "quota of the control groups 0.5), so PoolExecutor starts 1 workers by default" in found
    assert "the 4 workers of PoolConfig by default share them" in found


def test_a_memory_limit_without_effect_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert worker_checks.memory_limit()[0]
    monkeypatch.setattr("poolproof.bridge.processes.launch.limit_memory", lambda *_: None)
    well, found = worker_checks.memory_limit()
    assert (well, found.endswith("was not refused: the process exited with status 0")) == (False, True)


def test_memory_that_cannot_be_shared_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    assert worker_checks.shared_memory() == (
        False,
        "No space left on device: set shared_memory_bytes=0, then buffers go through pipes",
    )


@pytest.mark.parametrize("permitted", [True, False])
def test_what_outlives_a_worker_is_found(monkeypatch: pytest.MonkeyPatch, permitted: bool) -> None:
    if not permitted:
        monkeypatch.setattr(Groups, "make", lambda: None)
    well, found = worker_checks.strays()
    assert well
    assert ("by a search" in found) or permitted
    monkeypatch.setattr(worker_checks, "PATIENCE_S", 0.5)
    monkeypatch.setattr(Strays, "worker_ended", lambda *_: None)
    well, found = worker_checks.strays()
    assert not well
    assert "still ran" in found


def test_a_run_directory_on_a_full_disk_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=0))
    well, found = doctor._run_directories()
    assert not well
    assert "is on a full disk" in found


def test_under_sudo_the_doctor_says_whose_pools_these_are(monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root is under sudo")
    monkeypatch.setenv("SUDO_USER", "anna")
    [point] = [point for point in doctor.examine() if point.name == "run directories"]
    assert point.well
    assert "`sudo -u anna poolproof ps` lists the pools of anna" in point.found


def test_a_migration_that_this_user_cannot_change_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "empty"))
    monkeypatch.setattr(doctor_module, "examine", lambda more: doctor.run_checks(more))
    assert main(["doctor"]) == 0
    assert "default.json: not begun, and nobody follows it" in capsys.readouterr().out
    Path("poolproof.toml").write_text('[migration]\nstate_file = "state.json"\n')
    assert main(["doctor"]) == 0
    assert "not begun" in capsys.readouterr().out
    StateFile("state.json").write(Position.parse("shadow"), who="anna", why="begun")
    assert main(["doctor"]) == 0
    assert "state.json: shadow" in capsys.readouterr().out
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: access(path, mode) and not str(path).endswith(".log"))
    assert main(["doctor"]) == 1
    assert "cannot be changed by this user: no access to" in capsys.readouterr().out
    Path("state.json").unlink()
    os.mkfifo("state.json")
    assert main(["doctor"]) == 1
    assert "it is not a regular file" in capsys.readouterr().out


def _config() -> Any:
    from poolproof.bridge import PoolConfig

    return PoolConfig()

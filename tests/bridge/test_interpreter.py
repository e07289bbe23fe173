"""A child finds this package whatever the current folder holds, and an application's modules where its parent does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from poolproof.bridge import PoolConfig
from poolproof.bridge.config import module_command
from poolproof.bridge.processes.interpreter import PATH_VARIABLE, adopt, environment
from poolproof.pool_v1 import PoolV1
from poolproof.pool_v2 import PoolV2

NAMES = ("poolproof", "bridge", "harness", "msgspec", "json", "typing", "queue")


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: each of its modules breaks whoever imports it."""
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text(f"raise RuntimeError('the folder\\'s own {name} was imported')\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("kind", [PoolV1, PoolV2])
@pytest.mark.parametrize("zygote", [False, True])
def test_workers_start_in_a_folder_that_has_modules_of_the_product_s_names(
    hostile: Path, kind: type[PoolV1] | type[PoolV2], zygote: bool
) -> None:
    if zygote and kind is PoolV1:
        pytest.skip("v1 has none")
    with kind(PoolConfig(workers=1, zygote=zygote)) as pool:
        pool.warm_up()
        assert pool.execute("echo", {"value": 1}) == 1


@pytest.mark.parametrize("kind", [PoolV1, PoolV2])
def test_a_worker_has_imported_what_it_needs_before_it_adopts_a_path(
    kind: type[PoolV1 | PoolV2], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A folder that came on its parent's path late, as pytest does it, has modules that the parent has already."""
    for name in ("shutil", "lzma", "bz2", "gettext", "selectors"):
        (tmp_path / f"{name}.py").write_text(f"raise RuntimeError('the folder\\'s own {name} was imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with kind(PoolConfig(workers=1)) as pool:
        assert pool.execute("echo", {"value": 1}) == 1


def test_a_child_has_its_parent_s_path_in_the_same_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path / "first"))
    monkeypatch.setattr(sys, "path", [*sys.path[:1], "", *sys.path[1:], str(tmp_path / "last")])
    expected = [os.path.abspath(entry) for entry in sys.path]
    told = environment({})
    assert told[PATH_VARIABLE].split(os.pathsep) == expected
    code = "import sys; from poolproof.bridge.processes.interpreter import adopt; adopt(); print(*sys.path, sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env=os.environ | told,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines() == expected


def test_a_package_that_is_installed_nowhere_is_found_by_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    home = str(Path(__file__).parents[2])
    monkeypatch.setattr(sys, "path", [home, *(entry for entry in sys.path if entry != home)])
    assert environment({})["PYTHONPATH"] == home
    assert environment({"PYTHONPATH": "/elsewhere"})["PYTHONPATH"] == f"{home}{os.pathsep}/elsewhere"
    assert "PYTHONPATH" not in environment({"PYTHONPATH": home})


def test_a_process_that_was_told_nothing_keeps_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PATH_VARIABLE, raising=False)
    before = list(sys.path)
    adopt()
    assert sys.path == before


def test_the_command_keeps_the_current_folder_off_the_path() -> None:
    assert module_command("poolproof.x", "a", "b") == (sys.executable, "-P", "-m", "poolproof.x", "a", "b")

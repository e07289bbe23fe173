"""A user's modules are found while they are wanted, and stand in for none of ours afterwards; in real processes too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from poolproof.harness.subjects.imports import importing_from

WANTED_LATE = ("altair", "jinja2", "vl_convert", "packaging", "typing_extensions", "traceback", "pprint", "coverage")
WANTED_SOON = ("typer", "msgspec", "numpy", "rich", "psutil")
SCENARIO = """
import own_pools
from neighbour import CALLS
from poolproof.harness.checkers import CORE, OneOutcome
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.workload import Size, steady

TINY = Scenario(name="tiny", summary="echoes", workload=steady("echo", calls=CALLS), checkers=(OneOutcome(), *CORE),
                fixed_size=Size(workers=1, clients=1))
"""
POOLS = """
from bridge import thing
from poolproof.pool_v2 import PoolV2

class Mine(PoolV2):
    pass
"""
COMMAND = "import sys; from poolproof.__main__ import main; sys.exit(main())"
"""What the installed command does; -P keeps the current folder off its path, as there."""


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A folder with modules named like ours and like those that we need, none of which can be imported."""
    for name in (*WANTED_LATE, *WANTED_SOON):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('the file of a user: {name}')")
    for name in ("harness", "reports", "scenarios", "pool_v2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"raise SystemExit('the folder of a user: {name}')")
    (tmp_path / "bridge").mkdir()
    (tmp_path / "bridge" / "thing.py").write_text("")
    (tmp_path / "own_pools.py").write_text(POOLS)
    files = tmp_path / "files"
    files.mkdir()
    (files / "scenario_tiny.py").write_text(SCENARIO)
    (files / "neighbour.py").write_text("CALLS = 2")
    return tmp_path


def _poolproof(folder: Path, *words: str, module: bool = False) -> subprocess.CompletedProcess[str]:
    start = ["-m", "poolproof"] if module else ["-P", "-c", COMMAND]
    env = os.environ | {"POOLPROOF_RUNTIME_DIR": str(folder / "runtime")}
    return subprocess.run(
        [sys.executable, *start, *words], cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize("module", [False, True], ids=["command", "module"])
def test_a_scenario_file_and_a_factory_find_their_neighbours_in_any_folder(hostile: Path, module: bool) -> None:
    done = _poolproof(hostile, "run", "files/scenario_tiny.py", "--pool", "own_pools:Mine", module=module)
    assert done.returncode == 0, done.stderr
    assert "tiny on own_pools:Mine" in done.stdout


def test_a_comparison_is_written_in_a_folder_that_has_modules_of_any_name(hostile: Path) -> None:
    words = ("files/scenario_tiny.py", "--candidate", "own_pools:Mine", "--jobs", "2", "--quiet")
    done = _poolproof(hostile, "compare", *words, "--profile", "smoke", "--out", "compared")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert (hostile / "compared" / "report.html").stat().st_size > 10_000


def test_a_module_that_leaves_is_told(hostile: Path) -> None:
    done = _poolproof(hostile, "run", "any_json", "--pool", "altair:Pool")
    assert done.returncode == 2
    assert done.stderr == (
        "poolproof: the pool 'altair:Pool': altair cannot be imported: SystemExit: the file of a user: altair\n"
    )


def test_folders_come_first_and_then_last(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path / "early"), *sys.path])
    before = list(sys.path)
    with importing_from(tmp_path / "file", tmp_path / "early", tmp_path / "file"):
        assert sys.path == [str(tmp_path / "file"), *before]
    assert sys.path == [*before, str(tmp_path / "file")]
    with importing_from(str(tmp_path / "file")):
        assert sys.path == [str(tmp_path / "file"), *before]
    assert sys.path == [*before, str(tmp_path / "file")]

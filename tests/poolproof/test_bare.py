"""What is installed without the extra `harness`: the pools, and one line for what else is asked for."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from poolproof.__main__ import TOOLS

ROOT = Path(__file__).parents[2]
ROOMS = ("bridge", "pool_v1", "pool_v2", "migration", "harness", "scenarios", "reports")
WITHOUT = f"import sys; sys.modules.update(dict.fromkeys({(*TOOLS, 'altair', 'vl_convert', 'xdist')}));"
"""None of what the extra brings can be imported."""


def _run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", WITHOUT + code], capture_output=True, text=True, timeout=60)


def test_the_names_of_a_service_are_there() -> None:
    wanted = "AsyncPool, CallTimeout, MigratingPool, Pool, PoolConfig, PoolExecutor, PoolV1, PoolV2, ProgramAdapter"
    done = _run(f"from poolproof import {wanted}; print(PoolExecutor(1).submit(pow, 2, 3).result())")
    assert (done.returncode, done.stdout, done.stderr) == (0, "8\n", "")


@pytest.mark.parametrize(("name", "tool"), [("Scenario", "numpy"), ("conformance_tests", "pytest")])
def test_a_name_of_the_harness_says_what_it_needs(name: str, tool: str) -> None:
    done = _run(f"from poolproof import {name}")
    assert done.stderr.splitlines()[-1] == (
        f"ModuleNotFoundError: poolproof.{name} needs {tool}: pip install 'poolproof[harness]'"
    )


def test_the_command_says_what_it_needs() -> None:
    done = _run("from poolproof.__main__ import main; sys.exit(main())")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "poolproof: the command needs typer: pip install 'poolproof[harness]'\n"


def test_every_file_is_shipped() -> None:
    """Modules are those of the packages, which tests/test_architecture.py holds against the folders."""
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    shipped = {path for name, globs in told.items() for glob in globs for path in _folder(name).glob(glob)}
    found = {path for room in ROOMS for path in _folder(f"poolproof.{room}").rglob("*") if path.is_file()}
    data = {path for path in found if path.suffix not in (".py", ".pyc")}
    assert data | {ROOT / "poolproof" / "py.typed"} == shipped


def _folder(package: str) -> Path:
    return ROOT.joinpath(*package.split("."))

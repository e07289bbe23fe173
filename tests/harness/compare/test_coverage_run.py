"""Coverage of what a scenario executes, in a real process: its own lines, by scenario, and what none executed."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from coverage import CoverageData

from poolproof.harness.compare.coverage_run import CoverageRun, ranges, sources_of
from poolproof.harness.model.errors import RecordError

PROGRAM = """
import sys

def both():
    return 1

def one():
    if len(sys.argv) > 5:
        return 2
    return 3

def never():
    return 4

both()
"""


def test_each_scenario_has_its_own_lines_and_what_none_did_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "coverage.py").write_text("raise SystemExit('a file of the current folder')")
    package = tmp_path / "installed" / "measured_pool"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(PROGRAM)
    (package / "first.py").write_text("import measured_pool\n")
    (package / "second.py").write_text("import measured_pool\nmeasured_pool.one()\n")
    covering = CoverageRun(tmp_path / "coverage", ["measured_pool"])
    env = os.environ | {"PYTHONPATH": str(tmp_path / "installed")}
    for scenario, module in (("alpha", "measured_pool.first"), ("beta", "measured_pool.second")):
        subprocess.run(covering.command(scenario, module), env=env, check=True, timeout=60)
    cover = covering.read()
    [file] = [file for file in cover.files if file.path.endswith("__init__.py")]
    assert (file.statements, file.executed, file.missing) == (10, 8, "9, 13")
    assert (file.branches, file.taken, file.untaken) == (2, 1, "8->9")
    alpha, beta = cover.scenarios
    assert (alpha.scenario, beta.scenario) == ("alpha", "beta")
    assert (alpha.alone, beta.alone) == (1, 4)
    assert (alpha.branches, beta.branches) == (0, 1)
    assert 80 < cover.percent < 90


def test_reading_it_leaves_the_measurement_of_this_process_alone(tmp_path: Path) -> None:
    (tmp_path / "measured_module.py").write_text("x = 1\n")
    (tmp_path / "reader.py").write_text(
        "import subprocess, sys\nfrom pathlib import Path\n"
        "from poolproof.harness.compare.coverage_run import CoverageRun\n"
        "covering = CoverageRun(Path('inner'), ['measured_module'])\n"
        "subprocess.run(covering.command('alpha', 'measured_module'), check=True)\n"
        "print(covering.read().percent)\n"
        "import measured_module\n"
    )
    (tmp_path / "outer.ini").write_text("[run]\nparallel = true\nsource = .\npatch = subprocess\n")
    outer = tmp_path / ".outer"
    starter = "import subprocess, sys; subprocess.run([sys.executable, 'reader.py'], check=True)"
    (tmp_path / "starter.py").write_text(starter)
    words = ["run", f"--rcfile={tmp_path / 'outer.ini'}", f"--data-file={outer}", "starter.py"]
    unset = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run(
        [sys.executable, "-m", "coverage", *words],
        cwd=tmp_path,
        env=unset | {"PYTHONPATH": str(tmp_path)},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.split() == ["100.0"]
    measured: set[str] = set()
    for path in tmp_path.glob(".outer.*"):
        with contextlib.closing(CoverageData(basename=str(path))) as kept:
            kept.read()
            measured |= {Path(name).name for name in kept.measured_files() if kept.lines(name)}
    assert {"starter.py", "reader.py", "measured_module.py"} <= measured


def test_nothing_measured_is_a_record_error(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="no coverage in"):
        CoverageRun(tmp_path / "coverage", ["pool_v2"]).read()


def test_lines_are_told_as_ranges() -> None:
    assert ranges([]) == ""
    assert ranges([9, 3, 4, 5]) == "3-5, 9"


@pytest.mark.parametrize(
    ("pool", "packages"),
    [
        ("v2", ("poolproof.pool_v2", "poolproof.bridge")),
        ("my.pools:make", ("my",)),
        ("v1", ("poolproof.pool_v1", "poolproof.bridge")),
    ],
)
def test_a_pool_has_its_own_packages(pool: str, packages: tuple[str, ...]) -> None:
    assert sources_of(pool) == packages

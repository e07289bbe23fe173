"""The command: its options, what it prints and writes, and its exit status."""

from __future__ import annotations

import io
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import __main__ as command
from benchmarks import catalogue
from benchmarks.effort import Effort
from benchmarks.exporters import read_json
from benchmarks.markdown import BEGIN, END
from benchmarks.records import Result, Row
from poolproof.bridge.processes.procfs import start_ticks

ROOT = Path(__file__).parent.parent.parent
pytestmark = pytest.mark.usefixtures("own_lock")


def _fake(rows: int) -> catalogue.Experiment:
    def experiment(effort: Effort) -> Result:
        row = Row(condition=effort.name, system=f"seed {effort.seed}", samples=1, metrics={"median_ms": 1.5})
        return Result(experiment="fake", title="Fake", rows=(row,) * rows, goals=())

    return experiment


@pytest.mark.parametrize(
    ("options", "condition", "system"), [(["--quick"], "quick", "seed 1"), (["--seed", "5"], "full", "seed 5")]
)
def test_the_chosen_experiment_is_printed_and_written(
    options: list[str], condition: str, system: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "EXPERIMENTS", {"fake": _fake(1), "other": _fake(1)})
    console = Console(file=io.StringIO(), width=120)
    path = tmp_path / "bench.json"
    assert command.main([*options, "--only", "fake", "--out", str(path)], console) == 0
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert condition in shown
    assert f"written: {path}" in shown.replace("\n", "")
    [result] = read_json(path).results
    assert [(row.condition, row.system) for row in result.rows] == [(condition, system)]


def test_a_page_gets_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "EXPERIMENTS", {"fake": _fake(1)})
    page = tmp_path / "page.md"
    page.write_text(f"{BEGIN}\n{END}\n")
    options = ["--out", str(tmp_path / "bench.json"), "--page", str(page)]
    assert command.main(options, Console(file=io.StringIO())) == 0
    assert "### Fake" in page.read_text()


def test_an_experiment_without_figures_gives_status_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "EXPERIMENTS", {"fake": _fake(0)})
    assert command.main(["--out", str(tmp_path / "bench.json")], Console(file=io.StringIO())) == 1


def test_an_unknown_experiment_gives_status_2() -> None:
    console = Console(file=io.StringIO())
    assert command.main(["--only", "nothing"], console) == 2
    assert isinstance(console.file, io.StringIO)
    assert "there is no experiment 'nothing'" in console.file.getvalue()


def test_what_is_stuck_is_ended_with_its_children() -> None:
    code = (
        "import subprocess, sys; from benchmarks.__main__ import end_everything;"
        "child = subprocess.Popen(['sleep', '3600']); print(child.pid, flush=True); end_everything()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == command.STUCK_STATUS
    assert "ending everything" in done.stderr
    pid = int(done.stdout)
    limit = time.monotonic() + 10
    while start_ticks(pid) is not None:
        assert time.monotonic() < limit, "the child lives on"


def test_the_module_is_a_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0
    assert "--quick" in done.stdout

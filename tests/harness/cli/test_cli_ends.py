"""How a whole comparison ends when it is interrupted or killed: nothing is lost that was recorded, nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

from poolproof.harness.cli.app import main

LONG = """
from poolproof.harness.checkers import CORE, OneOutcome
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.workload import Size, steady

LONG = Scenario(name="long", summary="many short calls, for a long while", checkers=(OneOutcome(), *CORE),
                workload=steady("sleep", {"seconds": 0.02}, calls=2000), fixed_size=Size(workers=2, clients=2))
"""
HANG_GUARD_S = 120.0
GONE_WITHIN_S = 40.0


class Running:
    """A comparison under way in a process of its own, with every process below it."""

    def __init__(self, folder: Path) -> None:
        (folder / "long.py").write_text(LONG)
        self.out = folder / "out"
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "poolproof",
                "compare",
                str(folder / "long.py"),
                "--jobs",
                "2",
                "--out",
                str(self.out),
            ],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "POOLPROOF_RUNTIME_DIR": str(folder / "runtime")},
        )
        self.family: list[psutil.Process] = []

    def wait_until_busy(self) -> None:
        """Until both runs have recorded answers."""
        deadline = time.monotonic() + HANG_GUARD_S
        while time.monotonic() < deadline:
            histories = list(self.out.glob("runs/*/history.jsonl"))
            if len(histories) == 2 and all(b'"type":"ok"' in path.read_bytes() for path in histories):
                self.family = psutil.Process(self.process.pid).children(recursive=True)
                return
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.02)
        pytest.fail("the comparison never began")

    def survivors(self, within_s: float) -> list[psutil.Process]:
        """Who of the family still lives after at most so long."""
        _, alive = psutil.wait_procs(self.family, timeout=within_s)
        return [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """A busy comparison, whose family is ended afterwards whatever happens."""
    found = Running(tmp_path)
    try:
        found.wait_until_busy()
        yield found
    finally:
        for process in found.survivors(0):
            process.kill()
        if found.process.poll() is None:
            found.process.kill()
        found.process.communicate(timeout=HANG_GUARD_S)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_exits_130_keeps_what_was_recorded_and_leaves_nobody(
    number: int, running: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    running.process.send_signal(number)
    _, told = running.process.communicate(timeout=HANG_GUARD_S)
    assert running.process.returncode == 130
    assert told.splitlines()[-1] == f"poolproof: interrupted; the runs recorded so far are in {running.out}"
    assert running.survivors(GONE_WITHIN_S) == []
    assert "the comparison was interrupted before this run ended" in (running.out / "report.md").read_text()
    assert msgspec.json.decode((running.out / "comparison.json").read_bytes())["decision"] == "INCONCLUSIVE"
    for folder in (running.out / "runs").iterdir():
        assert main(["analyze", str(folder), "--import", str(running.out.parent / "long.py")]) == 3
        assert "the run was cut off" in capsys.readouterr().out


def test_a_killed_comparison_takes_its_jobs_and_their_workers_with_it(running: Running) -> None:
    names = {" ".join(process.cmdline()) for process in running.family}
    assert sum("poolproof.harness.run.job" in name for name in names) >= 1
    assert sum("poolproof.bridge.worker.program" in name for name in names) >= 2
    running.process.kill()
    running.process.wait(HANG_GUARD_S)
    assert running.survivors(GONE_WITHIN_S) == []


def test_a_killed_family_leaves_pools_that_reap_clears(
    running: Running, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for process in running.family:
        process.kill()
    running.process.kill()
    assert running.survivors(GONE_WITHIN_S) == []
    monkeypatch.setenv("POOLPROOF_RUNTIME_DIR", str(tmp_path / "runtime"))
    assert main(["ps"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert len(listed) == 2
    assert all("\tgone\t" in line for line in listed)
    assert main(["reap"]) == 0
    assert capsys.readouterr().out.count(" has died; workers ended: ") == 2
    assert main(["ps"]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("words", [("--help",), ("run", "--help"), ("baseline", "--help"), ("list", "checkers")])
def test_an_interpreter_without_docstrings_changes_no_command(words: tuple[str, ...]) -> None:
    told = [
        subprocess.run(
            [sys.executable, "-m", "poolproof", *words],
            env=os.environ | {"PYTHONOPTIMIZE": level, "COLUMNS": "100"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        for level in ("", "2")
    ]
    assert (told[0].returncode, told[1].returncode, told[1].stderr) == (0, 0, "")
    assert told[1].stdout == told[0].stdout


def test_a_run_passes_in_an_interpreter_without_docstrings(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-OO", "-m", "poolproof", "run", "any_json", "--pool", "v2", "--out", str(tmp_path / "runs")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "any_json on v2, face execute, observed, seed 1: pass" in done.stdout

"""A run in a process of its own: whatever breaks it costs itself alone, and nothing outlives it."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

import poolproof.harness.run.job
from poolproof.harness.compare.catalogue import find_scenarios
from poolproof.harness.compare.comparison import RunResult
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.run.job import Job, JobOrder, start_job
from poolproof.harness.run.runner import Request, analyze
from poolproof.harness.run.store import RunFolder
from poolproof.harness.subjects.pools import find_pool

LIMIT_S = 60.0
PARENT = """
import sys
from poolproof.harness.run.job import Job, JobOrder
from poolproof.harness.run.runner import Request
job = Job(JobOrder(scenario="own", file=sys.argv[1], pool=sys.argv[2], request=Request(), out=sys.argv[3]))
print(job._process.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Job]]:
    """Start jobs that are ended afterwards, whatever happens."""
    jobs: list[Job] = []

    def make(file: Path | str, *, scenario: str = "own", pool: str = "v2") -> Job:
        out = str(tmp_path / "out")
        jobs.append(Job(JobOrder(scenario=scenario, file=str(file), pool=pool, request=Request(), out=out)))
        return jobs[-1]

    yield make
    for job in jobs:
        job.end()


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a shell script in the place of the job's own program."""

    def replace(script: str) -> None:
        path = tmp_path / "program"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setattr(sys, "executable", str(path))

    return replace


def _process(job: Job) -> subprocess.Popen[bytes]:
    """The process of a job that is a program of its own."""
    assert isinstance(job._process, subprocess.Popen)
    return job._process


def worker_pids(out: Path) -> set[int]:
    return {int(path.stem.split("-")[0]) for path in out.glob("*/journal/*-*.jsonl") if path.stat().st_size}


@pytest.mark.parametrize("pool", ["v1", "v2"])
def test_a_job_runs_in_a_process_of_its_own(
    scenario_file: Callable[..., Path], tmp_path: Path, pool: str, gone: Callable[..., None]
) -> None:
    (scenario,) = find_scenarios([str(scenario_file())])
    job = start_job(scenario, find_pool(pool), Request(seed=5), tmp_path / "out")
    result = job.result(LIMIT_S)
    assert (result.scenario, result.pool, result.seed) == ("own", pool, 5)
    assert (result.verdict, result.trouble) == (Verdict.PASS, "")
    folder = RunFolder(Path(result.folder))
    assert folder.read_result() == result
    assert f"-{os.getpid()}-" not in folder.read_info().pool_name
    assert folder.read_info().file == str(tmp_path / "own.py")
    gone(_process(job).pid, *worker_pids(tmp_path / "out"))


def test_a_scenario_that_prints_a_lot_neither_blocks_nor_damages_its_answer(
    start: Callable[..., Job], scenario_file: Callable[..., Path]
) -> None:
    head = "print('to stdout ' * 30_000)\nsys.stderr.write('to stderr ' * 30_000)\nsys.stdout.flush()"
    result = start(scenario_file(head=head)).result(LIMIT_S)
    assert (result.verdict, result.trouble) == (Verdict.PASS, "")


@pytest.mark.parametrize(
    ("name", "pool", "told"),
    [
        ("no_such_scenario", "v2", "there is no scenario 'no_such_scenario'"),
        ("any_json", "v9", "there is no pool 'v9'"),
    ],
)
def test_an_order_that_cannot_be_carried_out_is_a_trouble_that_says_why(
    start: Callable[..., Job], name: str, pool: str, told: str
) -> None:
    result = start("", scenario=name, pool=pool).result(LIMIT_S)
    assert (result.scenario, result.pool, result.verdict) == (name, pool, Verdict.UNKNOWN)
    assert told in result.trouble


def test_a_file_that_breaks_is_a_trouble_that_says_why(
    start: Callable[..., Job], scenario_file: Callable[..., Path]
) -> None:
    result = start(scenario_file(head="1 / 0")).result(LIMIT_S)
    assert result.verdict is Verdict.UNKNOWN
    assert "ZeroDivisionError" in result.trouble


def test_a_process_that_is_killed_leaves_a_folder_that_analyses_as_cut_off(
    start: Callable[..., Job],
    scenario_file: Callable[..., Path],
    tmp_path: Path,
    until: Callable[..., None],
    gone: Callable[..., None],
) -> None:
    path = scenario_file("sleep", {"seconds": 0.02}, calls=5000)
    job = start(path)
    out = tmp_path / "out"
    results = b'"outcome":"result"'
    until(lambda: any(f.read_bytes().count(results) >= 3 for f in out.glob("*/history.jsonl")), "calls are made")
    workers = worker_pids(out)
    _process(job).kill()
    result = job.result(LIMIT_S)
    assert result.verdict is Verdict.UNKNOWN
    assert "the run's process failed" in result.trouble
    gone(*workers)
    (folder,) = out.iterdir()
    (scenario,) = find_scenarios([str(path)])
    analysed = analyze(scenario, RunFolder(folder))
    assert analysed.trouble == "the run was cut off"
    assert analysed.verdict is Verdict.UNKNOWN
    assert analysed.metrics.outcomes["result"] >= 3


def test_a_run_that_takes_too_long_is_ended_with_its_workers(
    start: Callable[..., Job],
    scenario_file: Callable[..., Path],
    tmp_path: Path,
    until: Callable[..., None],
    gone: Callable[..., None],
) -> None:
    job = start(scenario_file("sleep", {"seconds": 3600}))
    until(lambda: worker_pids(tmp_path / "out"), "the worker is busy")
    workers = worker_pids(tmp_path / "out")
    result = job.result(0.05)
    assert result.verdict is Verdict.UNKNOWN
    assert "the run took longer than" in result.trouble
    gone(_process(job).pid, *workers)


@pytest.mark.parametrize("pool", ["v1", "v2"])
def test_the_death_of_the_parent_ends_the_job_and_its_workers(
    scenario_file: Callable[..., Path],
    tmp_path: Path,
    until: Callable[..., None],
    gone: Callable[..., None],
    pool: str,
) -> None:
    path = scenario_file("sleep", {"seconds": 3600})
    command = [sys.executable, "-c", PARENT, str(path), pool, str(tmp_path / "out")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        try:
            until(lambda: worker_pids(tmp_path / "out"), "the worker is busy")
            workers = worker_pids(tmp_path / "out")
            assert all(psutil.pid_exists(worker) for worker in workers)
        finally:
            parent.kill()
    gone(pid, *workers)


def test_an_interrupt_of_the_terminal_does_not_reach_a_job(
    start: Callable[..., Job],
    scenario_file: Callable[..., Path],
    tmp_path: Path,
    until: Callable[..., None],
) -> None:
    job = start(scenario_file("sleep", {"seconds": 0.3}))
    until(lambda: worker_pids(tmp_path / "out"), "the worker is busy")
    assert os.getpgid(_process(job).pid) != os.getpgid(0)
    os.kill(_process(job).pid, signal.SIGINT)
    result = job.result(LIMIT_S)
    assert (result.verdict, result.trouble) == (Verdict.PASS, "")


def test_ending_a_job_from_several_threads_gives_each_the_same_answer(
    start: Callable[..., Job], scenario_file: Callable[..., Path], tmp_path: Path, until: Callable[..., None]
) -> None:
    job = start(scenario_file("sleep", {"seconds": 3600}))
    until(lambda: worker_pids(tmp_path / "out"), "the worker is busy")
    results: list[RunResult] = []
    told: list[str] = []
    threads = [threading.Thread(target=lambda: results.append(job.result(LIMIT_S)))]
    threads += [threading.Thread(target=lambda: told.append(job.end())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
    assert told == [job.end()] * 3
    assert [result.verdict for result in results] == [Verdict.UNKNOWN]
    assert results[0].trouble
    assert _process(job).poll() is not None


def test_a_job_that_was_ended_has_a_result_with_trouble(
    start: Callable[..., Job], scenario_file: Callable[..., Path]
) -> None:
    job = start(scenario_file())
    job.end()
    result = job.result(LIMIT_S)
    assert (result.verdict, result.trouble) == (Verdict.UNKNOWN, "the run was ended")


def test_an_answer_that_is_no_result_is_a_trouble(start: Callable[..., Job], program: Callable[[str], None]) -> None:
    program('read order; echo "{\\"half\\": "')
    assert "the run's answer is damaged" in start("").result(LIMIT_S).trouble


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("exit 3", "the run's process failed: status 3"),
        ("read order; echo first >&2; echo last >&2; exit 3", "the run's process failed: last"),
    ],
)
def test_a_process_that_ends_without_an_answer_is_a_trouble(
    start: Callable[..., Job], program: Callable[[str], None], script: str, told: str
) -> None:
    program(script)
    assert start("").result(LIMIT_S).trouble == told


def test_a_process_that_does_not_leave_is_killed(
    start: Callable[..., Job], program: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poolproof.harness.run.job, "END_WAIT_S", 0.1)
    program("exec sleep 3600")
    job = start("")
    assert job.end() == ""
    assert _process(job).poll() == -signal.SIGKILL


def test_an_order_survives_the_way_to_the_job() -> None:
    request: Any = Request(seed=9, worker_command="x y", known_commands=frozenset({"echo"}))
    order = JobOrder(scenario="own", file="f.py", pool="v1", request=request, out="/o")
    assert msgspec.json.decode(msgspec.json.encode(order), type=JobOrder) == order

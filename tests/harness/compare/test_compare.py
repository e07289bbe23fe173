"""A comparison: every scenario on both pools, through jobs that can be watched, ended and broken."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

import poolproof.harness.compare.compare
from poolproof.harness.checkers import CORE, OneOutcome, Overlap
from poolproof.harness.compare.assembling import assemble, compare_results, describe_machine
from poolproof.harness.compare.catalogue import find_scenarios
from poolproof.harness.compare.compare import compare, measure_speeds
from poolproof.harness.compare.comparison import Comparison, RunResult, Speed
from poolproof.harness.compare.jobs.jobs import JOB_EXTRA_S, Partial, PlannedRun, run_jobs
from poolproof.harness.compare.jobs.stalls import Stalls
from poolproof.harness.compare.stored.reanalysis import reanalyze
from poolproof.harness.model.checker import Finding
from poolproof.harness.model.errors import RecordError, RunError
from poolproof.harness.model.scenario import IntendedDifference
from poolproof.harness.model.verdict import Decision, Verdict
from poolproof.harness.model.workload import Size, steady
from poolproof.harness.run.job import start_job
from poolproof.harness.run.runner import Request, run
from poolproof.harness.subjects.pools import find_pool

LIMIT_S = 30.0
V1, V2 = find_pool("v1"), find_pool("v2")


class Log:
    """Hears how a comparison goes on."""

    def __init__(self) -> None:
        self.steps = 0
        self.begun: list[str] = []
        self.over: list[tuple[str, str]] = []

    def planned(self, total: int) -> None:
        self.steps = total

    def began(self, what: str) -> None:
        self.begun.append(what)

    def ended(self, what: str, outcome: str) -> None:
        self.over.append((what, outcome))


def passed(scenario: str, pool: str, **fields: Any) -> RunResult:
    finding = Finding(checker="one_outcome", verdict=Verdict.PASS, claim="all well")
    usual: dict[str, Any] = {"seed": 1, "verdict": Verdict.PASS, "findings": (finding,)}
    return RunResult(scenario=scenario, pool=pool, **{**usual, **fields})


class FakeJob:
    """A job without a process."""

    def __init__(self, result: Callable[[float], RunResult]) -> None:
        self.ended = threading.Event()
        self._result = result

    def result(self, timeout_s: float) -> RunResult:
        return self._result(timeout_s)

    def end(self) -> str:
        self.ended.set()
        return ""


def planned(scenarios: Sequence[Any], subjects: Sequence[Any]) -> list[PlannedRun]:
    return [
        PlannedRun(scenario=scenario, subject=subject, request=Request())
        for scenario in scenarios
        for subject in subjects
    ]


def fake_jobs(scenario: Any, subject: Any, request: Any, out: Any) -> FakeJob:
    return FakeJob(lambda _: passed(scenario.name, subject.name, face=request.face, observed=request.observed))


def in_process(scenario: Any, subject: Any, request: Any, out: Any) -> FakeJob:
    return FakeJob(lambda _: run(scenario, subject, request, out))


def test_every_scenario_is_run_on_every_pool(tiny: Callable[..., Any], tmp_path: Path) -> None:
    scenarios, log = [tiny(), tiny(name="other")], Log()
    results = run_jobs(planned(scenarios, (V1, V2)), tmp_path, jobs=2, start_job=fake_jobs, progress=log)
    assert [(r.scenario, r.pool) for r in results] == [
        ("tiny", "v1"),
        ("tiny", "v2"),
        ("other", "v1"),
        ("other", "v2"),
    ]
    assert sorted(log.begun) == sorted(what for what, _ in log.over)
    assert set(log.over) == {
        (f"{name} (execute, observed) on {pool}", "pass") for name in ("tiny", "other") for pool in ("v1", "v2")
    }


def test_a_pool_against_itself_has_two_runs(tiny: Callable[..., Any], tmp_path: Path) -> None:
    numbers = iter(range(2))

    def start(scenario: Any, subject: Any, request: Any, out: Any) -> FakeJob:
        number = next(numbers)
        return FakeJob(lambda _: passed(scenario.name, subject.name, seed=number))

    results = run_jobs(planned([tiny()], (V2, V2)), tmp_path, jobs=1, start_job=start, progress=Log())
    assert [result.seed for result in results] == [0, 1]


def test_no_more_jobs_run_at_once_than_asked(tiny: Callable[..., Any], tmp_path: Path) -> None:
    lock = threading.Lock()
    both = threading.Barrier(2)
    level, most = 0, 0

    def start(scenario: Any, subject: Any, request: Any, out: Any) -> FakeJob:
        def result(_: float) -> RunResult:
            nonlocal level, most
            with lock:
                level += 1
                most = max(most, level)
            both.wait(LIMIT_S)
            with lock:
                level -= 1
            return passed(scenario.name, subject.name)

        return FakeJob(result)

    scenarios = [tiny(name=f"s{number}") for number in range(4)]
    run_jobs(planned(scenarios, (V1, V2)), tmp_path, jobs=2, start_job=start, progress=Log())
    assert most == 2


def test_the_longest_budgets_come_first_and_bound_their_jobs(tiny: Callable[..., Any], tmp_path: Path) -> None:
    limits: list[tuple[str, float]] = []

    def start(scenario: Any, subject: Any, request: Any, out: Any) -> FakeJob:
        def result(timeout_s: float) -> RunResult:
            limits.append((scenario.name, timeout_s))
            return passed(scenario.name, subject.name)

        return FakeJob(result)

    scenarios = [tiny(name="short", budget_s=5.0), tiny(name="long", budget_s=50.0)]
    run_jobs(planned(scenarios, (V2,)), tmp_path, jobs=1, start_job=start, progress=Log())
    extra_s = JOB_EXTRA_S
    assert limits == [("long", 50.0 + extra_s), ("short", 5.0 + extra_s)]


def test_an_error_ends_the_jobs_that_run_and_starts_no_other(tiny: Callable[..., Any], tmp_path: Path) -> None:
    started: dict[str, FakeJob] = {}  # by name: which of the first two is first is anybody's guess
    under_way = threading.Event()

    def start(scenario: Any, subject: Any, request: Any, out: Any) -> FakeJob:
        def result(_: float) -> RunResult:
            if scenario.name == "interrupted":
                assert under_way.wait(LIMIT_S)
                raise KeyboardInterrupt
            under_way.set()
            assert job.ended.wait(LIMIT_S)
            return passed(scenario.name, subject.name)

        job = FakeJob(result)
        started[scenario.name] = job
        return job

    scenarios = [tiny(name="interrupted"), tiny(name="runs"), *(tiny(name=f"waits{n}") for n in range(3))]
    with pytest.raises(KeyboardInterrupt):
        run_jobs(planned(scenarios, (V2,)), tmp_path, jobs=2, start_job=start, progress=Log())
    assert started["runs"].ended.is_set()
    assert len(started) <= 3  # a third only if it was taken before the interrupt was seen
    assert all(job.ended.is_set() for name, job in started.items() if name != "interrupted")


def test_a_job_that_starts_while_the_others_are_ended_is_ended_too(tiny: Callable[..., Any], tmp_path: Path) -> None:
    starting, late = threading.Event(), threading.Event()
    jobs: list[FakeJob] = []

    def start(scenario: Any, subject: Any, request: Any, out: Any) -> FakeJob:
        if scenario.name == "breaks":
            assert starting.wait(LIMIT_S)
            threading.Timer(0.3, late.set).start()
            raise RunError("cannot start")
        starting.set()
        assert late.wait(LIMIT_S)  # by now the error was seen

        def result(_: float) -> RunResult:
            assert jobs[0].ended.wait(LIMIT_S)
            return passed(scenario.name, subject.name)

        jobs.append(FakeJob(result))
        return jobs[0]

    with pytest.raises(RunError):
        run_jobs(
            planned([tiny(name="breaks"), tiny(name="late")], (V2,)),
            tmp_path,
            jobs=2,
            start_job=start,
            progress=Log(),
        )
    assert [job.ended.is_set() for job in jobs] == [True]


def test_a_skipped_run_is_told_as_skipped(tiny: Callable[..., Any], tmp_path: Path) -> None:
    log = Log()

    def start(scenario: Any, subject: Any, request: Any, out: Any) -> FakeJob:
        skipped = passed(scenario.name, subject.name, skipped="lacks kill", verdict=Verdict.UNKNOWN)
        return FakeJob(lambda _: skipped)

    run_jobs(planned([tiny()], (V2,)), tmp_path, jobs=1, start_job=start, progress=log)
    assert log.over == [("tiny (execute, observed) on v2", "skipped")]


def test_a_comparison_of_fake_jobs_is_complete(tiny: Callable[..., Any], tmp_path: Path) -> None:
    log = Log()
    request = Request(seed=4, size=Size(workers=3, clients=5), worker_command="some program")
    compared = compare(
        [tiny()], V1, V2, request, tmp_path, jobs=2, start_job=fake_jobs, progress=log, command="poolproof compare"
    )
    assert compared.decision is Decision.SAFE
    assert (compared.baseline, compared.candidate, compared.seed) == ("v1", "v2", 4)
    assert (compared.workers, compared.clients, compared.profile) == (3, 5, "quick")
    assert (compared.command, compared.worker_command) == ("poolproof compare", "some program")
    assert compared.machine.cpus >= 1
    assert compared.duration_s >= 0
    (row,) = compared.scenarios
    ways = [(r.pool, r.face, r.observed) for r in row.all_runs]
    assert ways[:4] == [("v1", "execute", False), ("v2", "execute", False)] + [
        (pool, "execute", True) for pool in ("v1", "v2")
    ]
    assert {face for pool, face, _ in ways if pool == "v2"} >= {"main_thread", "lease", "many", "stream", "asyncio"}
    assert log.steps == len(ways)
    assert [row.answers_compared for row in compared.scenarios] == [0]
    assert msgspec.json.decode(msgspec.json.encode(compared), type=Comparison) == compared


def test_the_answers_of_two_real_runs_are_compared(tiny: Callable[..., Any], tmp_path: Path) -> None:
    scenario = tiny(checkers=(OneOutcome(), *CORE))
    compared = compare([scenario], V1, V2, Request(), tmp_path, jobs=1, start_job=in_process, progress=Log())
    assert compared.decision is Decision.SAFE
    assert compared.scenarios[0].answers_compared == 4


def test_two_real_pools_that_differ_undeclared_are_unsafe_and_declared_are_safe(
    tiny: Callable[..., Any], tmp_path: Path
) -> None:
    fields: dict[str, Any] = {
        "workload": steady("sleep", {"seconds": 0.2}, calls=2),
        "commands": ("sleep",),
        "fixed_size": Size(workers=2, clients=2),
        "checkers": (OneOutcome(), Overlap()),
    }
    undeclared = tiny(**fields)
    results = {("tiny", side): run(undeclared, pool, Request(), tmp_path) for side, pool in enumerate((V1, V2))}
    machine = describe_machine(0.0)
    judged = assemble([undeclared], results, ("v1", "v2"), Request(), machine=machine, duration_s=1.0)
    assert judged.decision is Decision.UNSAFE
    reason = IntendedDifference(pool="v1", checker="overlap", reason="serial by design")
    declared = tiny(**fields, intended_differences=(reason,))
    judged = assemble([declared], results, ("v1", "v2"), Request(), machine=machine, duration_s=1.0)
    assert judged.decision is Decision.SAFE
    assert "v1 fails tiny, as declared beforehand: serial by design" in judged.reasons


def test_real_jobs_of_a_users_scenario_are_compared_and_judged_again_from_disk(
    scenario_file: Callable[..., Path], tmp_path: Path
) -> None:
    scenarios = find_scenarios([str(scenario_file())])
    home = tmp_path / "comparison"
    compared = compare(scenarios, V1, V2, Request(), home / "runs", jobs=2, start_job=start_job, progress=Log())
    assert compared.decision is Decision.SAFE
    assert compared.scenarios[0].answers_compared == 2
    assert compared.scenarios[0].file == str(tmp_path / "own.py")
    assert reanalyze(compared, home, lambda word: find_scenarios([word])) == compared
    moved = home.rename(tmp_path / "moved")
    again = reanalyze(compared, moved, lambda word: find_scenarios([word]))
    assert again.decision is Decision.SAFE
    assert again.scenarios[0].candidate.folder.startswith(str(moved))


def test_a_run_folder_that_is_gone_cannot_be_judged_again(tiny: Callable[..., Any], tmp_path: Path) -> None:
    gone = passed("tiny", "v2", folder=str(tmp_path / "gone"))
    results = {("tiny", 0): passed("tiny", "v1"), ("tiny", 1): gone}
    scenario = tiny(compare_answers=False)
    compared = assemble([scenario], results, ("v1", "v2"), Request(), machine=describe_machine(0.0), duration_s=1.0)
    with pytest.raises(RecordError):
        reanalyze(compared, tmp_path, lambda words: [scenario])


def test_a_measurement_that_failed_is_not_forgotten_when_it_is_judged_again(
    tiny: Callable[..., Any], tmp_path: Path
) -> None:
    results = {("tiny", side): passed("tiny", pool) for side, pool in enumerate(("v1", "v2"))}
    scenario = tiny(timed=True)
    compared = assemble(
        [scenario],
        results,
        ("v1", "v2"),
        Request(),
        troubles=["the speed of 'tiny' could not be measured"],
        machine=describe_machine(0.0),
        duration_s=1.0,
    )
    assert compared.decision is Decision.INCONCLUSIVE
    assert reanalyze(compared, tmp_path, lambda words: [scenario]).decision is Decision.INCONCLUSIVE


def test_runs_whose_histories_cannot_be_read_are_inconclusive(tiny: Callable[..., Any], tmp_path: Path) -> None:
    scenario = tiny()
    results = {
        ("tiny", side): passed("tiny", pool, folder=str(tmp_path / pool)) for side, pool in enumerate(("v1", "v2"))
    }
    (row,) = compare_results([scenario], results)
    assert "cannot read" in row.candidate.trouble
    judged = assemble([scenario], results, ("v1", "v2"), Request(), machine=describe_machine(0.0), duration_s=1.0)
    assert judged.decision is Decision.INCONCLUSIVE


def test_answers_are_not_compared_where_the_scenario_says_so(tiny: Callable[..., Any], tmp_path: Path) -> None:
    results = {
        ("tiny", side): passed("tiny", pool, folder=str(tmp_path / pool)) for side, pool in enumerate(("v1", "v2"))
    }
    (row,) = compare_results([tiny(compare_answers=False)], results)
    assert (row.answers_compared, row.candidate.trouble) == (0, "")


def test_speeds_are_measured_for_timed_scenarios_alone(
    tiny: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, runtime_dir: Path
) -> None:
    def measure(scenario: Any, *_: Any) -> Speed:
        if scenario.name == "breaks":
            raise RunError("a call failed")
        return Speed(
            scenario=scenario.name,
            metric="throughput",
            baseline=1.0,
            candidate=4.0,
            ratio=4.0,
            low=3.9,
            high=4.1,
            blocks=6,
        )

    monkeypatch.setattr(poolproof.harness.compare.compare, "measure_speed", measure)
    log = Log()
    scenarios = [tiny(), tiny(name="timed", timed=True), tiny(name="breaks", timed=True)]
    speeds, troubles = measure_speeds(scenarios, V1, V2, Request(), progress=log)
    assert [speed.scenario for speed in speeds] == ["timed"]
    assert troubles == ("a call failed",)
    assert log.over == [("the speed of timed", "4.00 times"), ("the speed of breaks", "failed")]


def test_when_its_time_is_over_a_comparison_begins_no_run_and_is_not_safe(
    tiny: Callable[..., Any], tmp_path: Path
) -> None:
    partial = Partial(0.0)
    found = compare(
        [tiny(), tiny(name="timed", timed=True)],
        V1,
        V2,
        Request(),
        tmp_path,
        jobs=1,
        start_job=lambda *_: pytest.fail("a run has begun"),
        progress=Log(),
        partial=partial,
    )
    assert found.decision is Decision.INCONCLUSIVE
    assert any("not run, since the time budget of 0 s was over" in reason for reason in found.reasons)
    assert any("the speed of timed was not measured" in reason for reason in found.reasons)
    assert not partial.interrupted


class AllEnd(Stalls):
    """Waits until the last run was begun, so that all results are there when the first of them is looked at."""

    def __init__(self, last: threading.Event) -> None:
        super().__init__()
        self._last = last

    def begin(self) -> None:
        super().begin()
        assert self._last.wait(LIMIT_S)
        time.sleep(0.1)  # until its exception is there, too; if not, the test proves less


def test_an_interrupted_comparison_tells_what_has_ended(tiny: Callable[..., Any], tmp_path: Path) -> None:
    partial = Partial()
    interrupted = threading.Event()

    def start(scenario: Any, subject: Any, request: Any, out: Any) -> FakeJob:
        if subject is V2:
            interrupted.set()
            raise KeyboardInterrupt
        return fake_jobs(scenario, subject, request, out)

    runs = planned([tiny(name=f"tiny_{number}") for number in range(20)], (V1,)) + planned([tiny()], (V2,))
    *ended, last = run_jobs(
        runs, tmp_path, jobs=1, start_job=start, progress=Log(), partial=partial, stalls=AllEnd(interrupted)
    )
    assert {result.verdict for result in ended} == {Verdict.PASS}, "whichever of them the interrupt came before"
    assert last.trouble == "the comparison was interrupted before this run ended"
    assert partial.interrupted
    with pytest.raises(KeyboardInterrupt):
        run_jobs(runs, tmp_path, jobs=1, start_job=start, progress=Log())

"""One short bench of real pools, its record, and how it is shown; what is asserted needs no quiet machine."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest

from poolproof.harness.bench.plan import BenchPlan
from poolproof.harness.bench.records.baselines import Baselines
from poolproof.harness.bench.report import assemble, verdict_of
from poolproof.harness.bench.running import default_clients, run_bench
from poolproof.harness.bench.schedules import make_schedule
from poolproof.harness.bench.show import markdown, notes, tell_value
from poolproof.harness.bench.speeds import speed_of
from poolproof.harness.bench.statistics.figures import BenchReport
from poolproof.harness.bench.workloads.workloads import call_scenario, plan_of
from poolproof.harness.model.errors import UsageError
from poolproof.harness.model.timing.budget import BudgetError
from poolproof.harness.model.timing.load import parse_load
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.model.workload import Size
from poolproof.harness.subjects.pools import find_pool


def plan(**fields: Any) -> BenchPlan:
    usual: dict[str, Any] = {
        "scenario": call_scenario('sleep {"seconds": 0.005}'),
        "baseline": find_pool("v1"),
        "candidate": find_pool("v2"),
        "size": Size(workers=2, clients=2),
        "load": parse_load("closed"),
        "schedule": msgspec.structs.replace(make_schedule("quick", rounds=5, block_s=0.05), warm_s=0.02),
    }
    return BenchPlan(**{**usual, **fields})


def test_a_bench_measures_three_arms_in_each_round_and_keeps_all_of_it(runtime_dir: Any) -> None:
    budgets = ("v2.throughput > 1/s", "candidate.errors <= v1.errors", "v2.p99 < 1s", "v9.p50 < 1s")
    (bench,) = (report := assemble([run_bench(plan(budgets=budgets))])).benches
    assert bench.validity.valid
    assert bench.quiet.gate
    assert [pool.pool for pool in bench.pools] == ["v1", "v2"]
    for number in range(5):
        assert sorted(block.arm for block in bench.blocks if block.round == number) == [
            "baseline",
            "candidate",
            "control",
        ]
    verdicts = [result.verdict for result in bench.budgets]
    assert verdicts == [Verdict.PASS, Verdict.PASS, Verdict.UNKNOWN, Verdict.UNKNOWN]
    figures = bench.pools[1].figures
    for metric in ("throughput", "cpu_per_call", "rss", "fds", "threads", "switches_per_call"):
        estimate = figures[metric].estimate
        assert estimate is not None
        assert 0 < estimate.low <= estimate.value * 1.0001
    assert figures["p99"].estimate is None
    assert bench.pools[1].service.counts == ()
    assert (bench.wrong, bench.observed_rounds) == ((), 0)
    assert len(bench.pools[1].samples) == 5
    assert msgspec.json.decode(msgspec.json.encode(report), type=BenchReport) == report
    assert "| throughput |" in markdown(report)
    assert any("budget unknown: v2.p99 < 1s (p99 needs 10000 calls" in note for note in notes(bench))


def test_service_times_come_from_rounds_of_their_own_and_the_others_are_unobserved(runtime_dir: Any) -> None:
    made: list[bool] = []
    v2 = find_pool("v2")

    def make(config: Any, observer: Any) -> Any:
        made.append(observer is not None)
        return v2.make(config, observer)

    candidate = msgspec.structs.replace(v2, make=make)
    (bench,) = assemble([run_bench(plan(candidate=candidate, budgets=("v2.service_p50 < 1s",)))]).benches
    assert made == [False, True]
    assert bench.observed_rounds == 5
    assert sum(bench.pools[1].service.counts) > 0
    assert any(note.startswith("service times and waits come from 5 rounds of their own") for note in notes(bench))


def test_an_open_load_counts_from_the_intended_begin(runtime_dir: Any) -> None:
    load = parse_load("constant:100")
    size = Size(workers=2, clients=default_clients(load, 2))
    (bench,) = assemble([run_bench(plan(load=load, size=size, candidate=find_pool("v1")))]).benches
    assert {test.metric for test in bench.tests} == {"p10", "p50", "p90", "p99"}
    calls = sum(pool.calls + pool.dropped for pool in bench.pools)
    assert calls == 5 * 3 * 5  # rounds, arms, and 5 arrivals in 0.05 s


def test_without_the_gate_the_figures_are_invalid(runtime_dir: Any) -> None:
    from poolproof.harness.bench.bench import measure

    (bench,) = assemble([measure(plan(budgets=("v2.p50 < 1h",)), gate=False)]).benches
    assert not bench.validity.valid
    assert bench.claim == "inconclusive"
    assert bench.budgets[0].verdict is Verdict.UNKNOWN


def test_what_cannot_be_timed_is_refused(tiny: Any) -> None:
    from poolproof.harness.model.fault import Fault, FaultKind

    scenario = tiny(faults=(Fault(kind=FaultKind.KILL),))
    with pytest.raises(UsageError, match="injects faults, so its speed cannot be measured"):
        plan_of(scenario, Size(), 1)
    with pytest.raises(BudgetError):
        plan(budgets=("nonsense",))
    with pytest.raises(UsageError, match="its arguments are not valid JSON"):
        call_scenario("sleep {seconds")
    with pytest.raises(UsageError, match="rounds 0: must be a number from 1 to 10000"):
        make_schedule("quick", rounds=0)


@pytest.mark.parametrize(
    ("value", "unit", "told"),
    [
        (0.00321, "s", "3.21 ms"),
        (42e-6, "s", "42 µs"),
        (2.5, "s", "2.5 s"),
        (311.96, "1/s", "312/s"),
        (5e6, "B", "5 MB"),
        (1e6 / 60, "B/s", "1 MB/min"),
        (None, "s", "-"),
        (3.0, "1", "3"),
    ],
)
def test_values_have_units_that_suit_them(value: float | None, unit: str, told: str) -> None:
    assert tell_value(value, unit) == told


@pytest.mark.parametrize(
    ("fields", "observes"),
    [
        ({}, False),
        ({"budgets": ("v2.p50 < 1s",)}, False),
        ({"observed": True}, True),
        ({"budgets": ("v2.p50 < 1s", "v1.wait_p50 - v2.wait_p50 > 0s")}, True),
        ({"budgets": ("1s > v2.service_p99",)}, True),
    ],
)
def test_only_who_asks_for_service_times_or_waits_gets_observed_rounds(fields: dict[str, Any], observes: bool) -> None:
    assert plan(**fields).observes is observes


class OneBad:
    """V2, of whose answers number `at` is made bad."""

    def __init__(self, pool: Any, bad: Any, at: int) -> None:
        self._pool, self._bad, self._left = pool, bad, itertools.count(1 - at)

    def execute(self, command: str, args: dict[str, Any], **options: Any) -> Any:
        answer = self._pool.execute(command, args, **options)
        return answer if next(self._left) else self._bad(answer)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)


BAD = {
    "lost": lambda answer: None,
    "changed": lambda answer: {**answer, "slept_s": 1},
    "swapped": lambda answer: {**answer, "nonce": answer["nonce"] - 1},
}


@pytest.mark.parametrize("kind", BAD)
def test_one_bad_answer_of_a_timed_call_is_no_figure_and_fails_the_bench(kind: str, runtime_dir: Any) -> None:
    v2 = find_pool("v2")
    bad = msgspec.structs.replace(
        v2, name="bad", make=lambda config, observer: OneBad(v2.make(config, observer), BAD[kind], 9)
    )
    report = assemble([run_bench(plan(candidate=bad))])
    (bench,) = report.benches
    (wrong,) = bench.wrong
    assert wrong.startswith("one_call on bad: the request sleep {'seconds': 0.005, 'nonce': ")
    assert not bench.validity.valid
    assert bench.claim == "inconclusive"
    assert verdict_of(report) is Verdict.FAIL
    with pytest.raises(UsageError, match="invalid: wrong answer"):
        Baselines().save("bad", report)
    speed = speed_of(bench)
    assert speed.wrong == (wrong,)


def test_a_sound_bench_gives_a_speed_whose_margin_is_at_least_its_control(runtime_dir: Any) -> None:
    (bench,) = assemble([run_bench(plan())]).benches
    speed = speed_of(bench)
    (trial,) = (test for test in bench.tests if test.metric == "throughput")
    assert trial.control is not None
    assert trial.ratio is not None
    assert (speed.low, speed.high) == (trial.ratio.low, trial.ratio.high)
    assert speed.margin >= 1 - 1 / max(trial.control.high, 1 / trial.control.low) - 1e-9
    assert (speed.blocks, speed.wrong) == (5, ())
    assert "5 rounds of 3 blocks" in speed.notes[0]


def test_a_schedule_with_a_limit_ends_by_its_rule(runtime_dir: Any) -> None:
    schedule = msgspec.structs.replace(make_schedule("quick", rounds=50, block_s=0.02), warm_s=0.01, limit_s=0.001)
    bench = run_bench(plan(schedule=schedule))
    assert bench.rounds == 5
    assert bench.stopped == "after 5 rounds the time limit of 0.001 s was reached"

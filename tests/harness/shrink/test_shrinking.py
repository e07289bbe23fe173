"""Shrinking a run: the plan is made again from its seed, the bounds hold, and the rates are told."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from poolproof.harness.compare.catalogue import find_scenarios
from poolproof.harness.compare.comparison import RunResult
from poolproof.harness.model.checker import Finding
from poolproof.harness.model.errors import UsageError
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.model.workload import Plan, Step
from poolproof.harness.pytest_plugin.session import Silence
from poolproof.harness.run.runner import Request, run
from poolproof.harness.run.store import RunFolder
from poolproof.harness.shrink.hints import choose_finding, find_plan
from poolproof.harness.shrink.shrinking import Bounds, Shrinking, Shrunk, trials_for
from poolproof.harness.subjects.pools import find_pool

BAD = Step(command="echo", label="bad")
GOOD = Step(command="echo")
PLAN: Plan = ((GOOD, GOOD, BAD), (GOOD, GOOD))
Decide = Callable[[Plan], bool]


class Trial:
    """A job that has ended already."""

    def __init__(self, fails: bool) -> None:
        verdict = Verdict.FAIL if fails else Verdict.PASS
        found = (Finding(checker="one_outcome", verdict=verdict, claim="so it is"),)
        self._result = RunResult(scenario="tiny", pool="fake", seed=1, verdict=verdict, findings=found)

    def result(self, timeout_s: float) -> RunResult:
        return self._result

    def end(self) -> str:
        return ""


@pytest.fixture
def shrink(tiny: Callable[..., Scenario], build: Any, fake_subject: Any, tmp_path: Path) -> Callable[..., Shrunk]:
    """Shrink PLAN; `decide` says of every plan whether the finding shows."""

    def make(decide: Decide, hints: tuple[frozenset[int], ...] = (), **bounds: Any) -> Shrunk:
        scenario = tiny(workload=lambda _, __: PLAN, fixed_size=None)

        def start(scenario: Scenario, *_: Any) -> Trial:
            return Trial(decide(scenario.workload(None, None)))  # type: ignore[arg-type]

        return Shrinking(
            scenario,
            fake_subject(),
            build.info(scenario="tiny", pool="fake", workers=3),
            "one_outcome",
            tmp_path / "small",
            scale=1.0,
            bounds=Bounds(**bounds),
            hints=hints,
            start_job=start,
            progress=Silence(),
        ).carry_out()

    return make


def has_bad(plan: Plan) -> bool:
    return any(step.label == "bad" for steps in plan for step in steps)


def test_the_smallest_plan_is_stored_with_both_rates(shrink: Callable[..., Shrunk], tmp_path: Path) -> None:
    told = shrink(has_bad)
    assert told.size_before == {"ops": 5, "clients": 2, "faults": 0, "workers": 3}
    assert told.size_after == {"ops": 1, "clients": 1, "faults": 0, "workers": 1}
    assert told.after is not None
    assert (told.before.count, told.before.total, told.after.count, told.after.total) == (5, 5, 5, 5)
    assert told.before.low == pytest.approx(0.566, abs=0.001)
    assert (told.stopped, told.replay) == (
        "",
        f"poolproof run {told.plan} --pool fake --seed 1 --face execute --observed",
    )
    assert {path.name for path in (tmp_path / "small").iterdir()} == {"plan.json", "shrink.json"}
    assert msgspec.json.decode((tmp_path / "small" / "shrink.json").read_bytes(), type=Shrunk) == told


def test_a_whole_plan_is_not_made_again_if_a_hint_shows_the_finding(shrink: Callable[..., Shrunk]) -> None:
    sizes: list[int] = []

    def decide(plan: Plan) -> bool:
        sizes.append(sum(map(len, plan)))
        return has_bad(plan)

    told = shrink(decide, hints=(frozenset({0}), frozenset({1, 2})), repeats=2)
    assert (told.size_after["ops"], told.before.count, told.before.total) == (1, 1, 1)
    assert max(sizes) == 2
    assert told.after is not None
    assert told.after.count == 2


def test_a_whole_plan_is_made_again_if_no_hint_shows_the_finding(shrink: Callable[..., Shrunk]) -> None:
    told = shrink(has_bad, hints=(frozenset({0}), frozenset({3})), repeats=2)
    assert (told.size_after["ops"], told.before.count, told.before.total) == (1, 2, 2)


def test_a_finding_that_never_shows_is_not_reduced(shrink: Callable[..., Shrunk]) -> None:
    told = shrink(lambda plan: False, repeats=4)
    assert (told.before.count, told.before.total, told.runs) == (0, 4, 4)
    assert (told.after, told.plan) == (None, "")
    assert told.size_after == told.size_before


def test_a_finding_that_shows_now_and_then_is_tried_more_often(shrink: Callable[..., Shrunk]) -> None:
    turn = itertools.count()
    told = shrink(lambda plan: has_bad(plan) and next(turn) % 2 == 0, repeats=4)
    assert told.size_after["ops"] == 1
    assert told.after is not None
    assert (told.before.count, told.after.count) == (2, 2)


def test_no_more_runs_are_made_than_allowed_and_the_rate_is_still_measured(shrink: Callable[..., Shrunk]) -> None:
    told = shrink(has_bad, runs=8, repeats=3)
    assert told.runs == 8
    assert told.stopped == "the limit of 8 runs was reached"
    assert told.after is not None
    assert told.after.total == 3


def test_no_smaller_plan_is_begun_after_the_time(shrink: Callable[..., Shrunk]) -> None:
    told = shrink(has_bad, seconds=0.0, repeats=2)
    assert (told.stopped, told.runs) == ("the limit of 0 s was reached", 4)
    assert told.size_after == told.size_before


@pytest.mark.parametrize(("rate", "trials"), [(1.0, 1), (0.95, 1), (0.8, 2), (0.5, 5), (0.2, 5)])
def test_the_rarer_the_finding_the_more_trials(rate: float, trials: int) -> None:
    assert trials_for(rate) == trials


def test_the_finding_to_keep_is_the_first_that_nobody_declared() -> None:
    fails = tuple(Finding(checker=name, verdict=Verdict.FAIL, claim="") for name in ("one", "two"))
    result = RunResult(scenario="tiny", pool="v1", seed=1, verdict=Verdict.FAIL, findings=fails)
    assert choose_finding(result, None, lambda name: name == "one") == "two"
    assert choose_finding(result, None, lambda name: True) == "one"
    assert choose_finding(result, "one", lambda name: True) == "one"
    with pytest.raises(UsageError, match="no failure of 'three'; there are one, two"):
        choose_finding(result, "three", lambda name: False)
    with pytest.raises(UsageError, match="'tiny' on v1 has no failure to shrink"):
        choose_finding(msgspec.structs.replace(result, findings=()), None, lambda name: False)


def test_the_plan_is_made_again_from_the_seed_as_it_was_run(tmp_path: Path) -> None:
    (scenario,) = find_scenarios(["command_errors"])
    result = run(scenario, find_pool("v2"), Request(seed=11), tmp_path)
    history = RunFolder(Path(result.folder)).read_history()
    plan = find_plan(scenario, history.info, scale=1.0).plan
    assert [step.command for steps in plan for step in steps] == [
        op.command for op in sorted(history.ops, key=lambda op: op.index)
    ]

"""The experiments are chosen by name; one that fails is in the report with its reason."""

from __future__ import annotations

import pytest

from benchmarks import catalogue
from benchmarks.blocks import BenchError
from benchmarks.catalogue import EXPERIMENTS, choose, experiment_limit_s, run
from benchmarks.effort import Effort
from benchmarks.records import Result, Row
from poolproof.bridge import StartFailed
from poolproof.harness.model.errors import UsageError


def test_all_that_can_be_are_chosen_if_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "find_spec", lambda name: object())
    assert choose([]) == EXPERIMENTS
    monkeypatch.setattr(catalogue, "find_spec", lambda name: None)
    assert choose([]).keys() == EXPERIMENTS.keys() - {"programs"}
    assert choose(["programs"]).keys() == {"programs"}


def test_the_chosen_come_in_the_catalogues_order() -> None:
    assert list(choose(["deadline", "round-trip"])) == ["round-trip", "deadline"]


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="'payloads'; did you mean 'payload'"):
        choose(["payloads"])
    with pytest.raises(UsageError, match="no experiment 'zzz' There are: round-trip, "):
        choose(["zzz"])


def test_the_total_leaves_something_for_each_later_experiment(tiny: Effort) -> None:
    # 504 s for 12 experiments: 21 s are kept for each that is still to come.
    assert experiment_limit_s(tiny, 0, later=6) == 60
    assert experiment_limit_s(tiny, 414, later=2) == pytest.approx(48)
    assert experiment_limit_s(tiny, 542, later=0) == 0


@pytest.mark.usefixtures("own_lock")
def test_a_run_tells_each_result_with_the_load_and_goes_on_after_a_failure(tiny: Effort) -> None:
    def good(effort: Effort) -> Result:
        row = Row(condition="c", system="s", samples=effort.rounds, metrics={})
        return Result(experiment="good", title="Good", rows=(row,), goals=())

    def broken(_: Effort) -> Result:
        raise BenchError("no figure")

    def unstartable(_: Effort) -> Result:
        raise StartFailed("no worker")

    heard: list[Result] = []
    report = run({"broken": broken, "unstartable": unstartable, "good": good}, tiny, on_result=heard.append)
    assert list(report.results) == heard
    assert [result.experiment for result in heard] == ["broken", "unstartable", "good"]
    assert heard[0].notes == ("failed: BenchError: no figure",)
    assert heard[1].notes == ("failed: StartFailed: no worker",)
    assert heard[2].rows[0].samples == 2
    assert all(result.load is not None for result in heard)
    assert (report.effort, report.seed) == ("tiny", 1)

"""The simulation: a seed replays exactly, sound code passes, planted bugs are found, and a violation is made small."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import Any

import msgspec
import pytest

from poolproof.harness.cli.app import main
from poolproof.harness.simulation.command import simulate
from poolproof.harness.simulation.io import SimTicket
from poolproof.harness.simulation.plan import Plan, make_plan
from poolproof.harness.simulation.power import SOURCES, read_mutations, simulate_planted
from poolproof.harness.simulation.run import run_plan
from poolproof.harness.simulation.scheduler import Scheduler, Stuck
from poolproof.harness.simulation.shrinking import shrink
from poolproof.pool_v2.core.coordinator import Coordinator

HARD_LIMIT_S = 120


def test_thousands_of_calls_of_the_shipped_code_violate_nothing() -> None:
    told: list[str] = []
    assert simulate(seed=1, seconds=None, calls=5000, say=told.append) == 0
    assert re.fullmatch(r"seeds 1 to \d+: \d+ calls, \d+ calls a second, no violation", told[0])


def cancelling(seed: int) -> Plan:
    """The plan of this seed with tasks of which many are cancelled and keep their workers."""
    plan = make_plan(seed)
    ops = [
        msgspec.structs.replace(op, interrupt="cancel") if op.client % 2 == op.index % 5 == 0 else op for op in plan.ops
    ]
    traits = {**plan.traits, "tasks": 1, "keep_on_cancel": 1}
    return msgspec.structs.replace(plan, ops=tuple(ops), traits=traits)


def test_workers_of_cancelled_tasks_are_kept_if_the_pool_is_asked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [found for seed in range(60) for found in run_plan(cancelling(seed)).found] == []
    monkeypatch.setattr(SimTicket, "outlives", lambda self, error: False)
    found = {violation.guarantee for seed in range(10) for violation in run_plan(cancelling(seed)).found}
    assert found == {"G8"}


def test_a_plan_has_the_same_history_each_time() -> None:
    for seed in range(100, 108):
        first, second = run_plan(make_plan(seed)), run_plan(make_plan(seed))
        assert (first.trace, first.steps) == (second.trace, second.steps)
        assert first.history == second.history
    assert run_plan(make_plan(100)).trace != run_plan(make_plan(101)).trace


def test_a_seed_has_the_same_history_in_every_process() -> None:
    traces = set()
    for hash_seed in ("0", "1", "77"):
        command = [sys.executable, "-m", "poolproof.harness.simulation.command", "--seed", "5"]
        env = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=HARD_LIMIT_S, check=True)
        traces.add(done.stdout.splitlines()[-1])
    assert len(traces) == 1
    assert next(iter(traces)).startswith("trace ")


def test_time_passes_only_when_nothing_can_happen_at_the_moment() -> None:
    scheduler = Scheduler(3)
    seen: list[Any] = []
    begin_ns = scheduler.clock.at_ns
    scheduler.at(begin_ns + 7, seen.append, "late")
    scheduler.soon(seen.append, "now")
    assert scheduler.run(lambda: len(seen) == 2)
    assert (seen, scheduler.clock.at_ns) == (["now", "late"], begin_ns + 7)
    assert not scheduler.run(lambda: False, begin_ns + 9)
    with pytest.raises(Stuck):
        scheduler.run(lambda: False)


@pytest.fixture
def lifo(monkeypatch: pytest.MonkeyPatch) -> None:
    """Serve the call that came last first."""
    leave = Coordinator.leave

    def backwards(self: Coordinator, *args: Any, **rest: Any) -> Any:
        self._queue = dict(reversed(self._queue.items()))
        woken = leave(self, *args, **rest)
        self._queue = dict(reversed(self._queue.items()))
        return woken

    monkeypatch.setattr(Coordinator, "leave", backwards)


def first_with(guarantee: str) -> int:
    """The first seed whose plan violates a guarantee."""
    for seed in range(1, 50):
        if any(violation.guarantee == guarantee for violation in run_plan(make_plan(seed)).found):
            return seed
    raise AssertionError(f"no plan violates {guarantee}")


@pytest.mark.usefixtures("lifo")
def test_a_violation_is_reduced_to_a_few_operations_that_still_show_it() -> None:
    plan = make_plan(first_with("G7"))
    cut = shrink(plan, "G7", longest_s=HARD_LIMIT_S)

    assert len(cut.ops) <= 5, "one that is served and two that wait are enough in most plans"
    assert cut.starts == cut.deaths == ()
    assert "G7" in [violation.guarantee for violation in run_plan(cut.of(plan)).found]


@pytest.mark.usefixtures("lifo")
def test_a_violation_is_told_with_the_line_that_replays_it(capsys: pytest.CaptureFixture[str]) -> None:
    seed = first_with("G7")
    assert main(["simulate", "--seed", str(seed), "--for", "60s"]) == 1
    told = capsys.readouterr().out
    assert told.startswith(f"seed {seed}: G7: ")

    line = next(line for line in told.splitlines() if line.startswith("replay: poolproof "))
    assert main(line.removeprefix("replay: poolproof ").split()) == 1
    assert capsys.readouterr().out.startswith(f"seed {seed}: G7: ")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--seed", "-1"], "--seed -1"),
        (["--calls", "0"], "--calls 0"),
        (["--for", "soon"], "--for 'soon'"),
        (["--ops", "1"], "--ops"),
        (["--seed", "1", "--ops", "x"], "--ops 'x'"),
    ],
)
def test_invalid_usage_is_told_in_one_line(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", *arguments]) == 2
    assert told in capsys.readouterr().err


FOUND_BY_SEED = {
    "queue_one_more": 4,
    "dirty_kept": 16,
    "last_waiter_first": 1,
    "one_worker_too_many": 1,
    "back_off_missing": 1,
    "cut_off_late": 1,
    "handover_skips_first": 1,
    "log_loses_change": 1,
    "outcome_not_counted": 1,
    "batch_wrong_order": 3,
    "id_not_checked": 14,
    "head_lost": 12,
}
"""Some of the planted bugs, with a seed whose plan finds each of them."""


@pytest.mark.parametrize("name", FOUND_BY_SEED)
def test_a_planted_bug_is_found(name: str) -> None:
    (mutation,) = [each for each in read_mutations() if each.name == name]
    found, told = simulate_planted(mutation, None, FOUND_BY_SEED[name])
    assert found, told
    assert re.search(r"^seed \d+: (G\d+|N\d+|crash): ", told, re.MULTILINE), told


def test_every_planted_bug_has_its_place_in_the_sources() -> None:
    mutations = read_mutations()
    assert len(mutations) > 100
    assert [m.name for m in mutations if (SOURCES / m.file).read_text().count(m.old) != 1] == []

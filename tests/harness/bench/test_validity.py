"""Validity: what makes figures invalid, and what is only a warning with advice."""

from __future__ import annotations

from typing import Any

from poolproof.harness.bench.statistics.validity import judge_validity
from poolproof.harness.model.timing.load import CLOSED, parse_load

OPEN = parse_load("constant:100")


def test_a_quiet_bench_has_nothing_to_say(make: Any) -> None:
    found = judge_validity([make.block("baseline", [0.01] * 9)], make.quiet, CLOSED)
    assert found.valid
    assert found.warnings == ()


def test_a_figure_without_the_gate_is_invalid(make: Any) -> None:
    found = judge_validity([make.block("baseline", [0.01])], make.changed(make.quiet, gate=False), CLOSED)
    assert found.problems == (
        "the machine-wide measuring lock was not held, so other runs may have disturbed the measurement",
    )


def test_workers_that_were_replaced_are_a_problem(make: Any) -> None:
    found = judge_validity([make.block("candidate", [0.01])], make.quiet, CLOSED, restarted=["candidate"])
    assert found.problems == ("workers of the candidate were replaced while it was measured",)


def test_a_generator_that_lags_is_a_problem_in_an_open_loop_only(make: Any) -> None:
    late = make.block("baseline", [0.010] * 9, lag_p50_s=0.002)
    (problem,) = judge_validity([late], make.quiet, OPEN).problems
    assert "began the calls of the baseline 2.00 ms late (median), with 10.00 ms for a response" in problem
    assert judge_validity([make.block("baseline", [0.010] * 9, lag_p50_s=0.0005)], make.quiet, OPEN).valid
    assert judge_validity([late], make.quiet, CLOSED).valid


def test_dropped_arrivals_are_a_problem_and_late_ones_a_warning(make: Any) -> None:
    (problem,) = judge_validity([make.block("baseline", [0.01] * 50, dropped=5)], make.quiet, OPEN).problems
    assert problem.startswith("5 arrivals of the baseline were dropped: the load exceeds what the pool can serve")
    found = judge_validity([make.block("baseline", [0.01] * 50, late=5)], make.quiet, OPEN)
    assert found.valid
    assert found.warnings[0].startswith("5 arrivals of the baseline found all clients busy")


def test_no_call_is_a_problem_and_failed_calls_a_warning(make: Any) -> None:
    found = judge_validity([make.block("baseline", [], errors={"CallTimeout": 4})], make.quiet, CLOSED)
    assert found.problems == ("no call of the baseline succeeded",)
    assert found.warnings == ("4 calls of the baseline failed (CallTimeout); their times are not counted",)


def test_the_machine_is_warned_of(make: Any) -> None:
    busy = make.changed(make.quiet, others=0.5, steal=0.1, clock_ns=4_000_000)
    found = judge_validity([make.block("baseline", [0.01])], busy, CLOSED, governor="powersave", under="coverage")
    assert found.valid
    assert [warning.split()[0] for warning in found.warnings] == ["other", "the", "the", "the", "coverage"]

"""Workloads from parts: seeded, in the asked proportions, at the asked times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random

import pytest

from poolproof.harness.model.composition import bursts, mix, phases, ramp, sessions, steady_mix, together
from poolproof.harness.model.errors import UsageError
from poolproof.harness.model.workload import Plan, Size, Step, Workload, steady

ECHO, SLEEP = Step(command="echo"), Step(command="sleep", args={"seconds": 0.1})
DRAW = mix((3, ECHO), (1, SLEEP))
SIZE = Size(workers=2, clients=4)
MAKERS: dict[str, Callable[[], Workload]] = {
    "mix": lambda: steady_mix(DRAW, calls=20),
    "ramp": lambda: ramp(DRAW, from_per_s=10, to_per_s=100, for_s=3),
    "bursts": lambda: bursts(DRAW, calls=6, every_s=0.5, count=4),
    "phases": lambda: phases((0.0, steady_mix(DRAW, calls=3)), (2.0, ramp(DRAW, from_per_s=5, to_per_s=5, for_s=2))),
    "together": lambda: together(steady_mix(DRAW, calls=3), bursts(DRAW, calls=2, every_s=1, count=2)),
    "sessions": lambda: sessions(steady_mix(DRAW, calls=20), count=9),
}


def flat(plan: Plan) -> list[Step]:
    return [step for steps in plan for step in steps]


def times(plan: Plan) -> list[float]:
    return sorted(step.at_s for step in flat(plan) if step.at_s is not None)


@pytest.mark.parametrize("name", MAKERS)
def test_one_seed_gives_one_plan_and_another_seed_another(name: str) -> None:
    workload = MAKERS[name]()
    assert workload(Random(7), SIZE) == workload(Random(7), SIZE)
    assert workload(Random(7), SIZE) != workload(Random(8), SIZE)


def test_a_mix_draws_in_proportion_to_the_weights() -> None:
    plan = steady_mix(DRAW, calls=2500)(Random(1), SIZE)
    assert {len(steps) for steps in plan} == {2500}
    assert Counter(step.command for step in flat(plan))["echo"] / 10_000 == pytest.approx(0.75, abs=0.02)


def test_a_ramp_has_as_many_calls_as_its_mean_rate_and_more_of_them_late() -> None:
    plan = ramp(DRAW, from_per_s=100, to_per_s=300, for_s=20)(Random(1), SIZE)
    found = times(plan)
    assert len(found) == len(flat(plan)) == pytest.approx(4000, rel=0.06)
    assert sum(at_s < 10 for at_s in found) == pytest.approx(1500, rel=0.08)
    assert 0 <= found[0] < found[-1] < 20


def test_a_ramp_may_go_down_or_stay() -> None:
    down = times(ramp(DRAW, from_per_s=300, to_per_s=100, for_s=20)(Random(1), SIZE))
    assert sum(at_s < 10 for at_s in down) == pytest.approx(2500, rel=0.08)
    assert len(times(ramp(DRAW, from_per_s=50, to_per_s=50, for_s=20)(Random(1), SIZE))) == pytest.approx(1000, rel=0.1)


def test_the_scale_makes_a_ramp_longer_and_bursts_more() -> None:
    double = Size(clients=4, scale=2.0)
    found = times(ramp(DRAW, from_per_s=50, to_per_s=50, for_s=10)(Random(1), double))
    assert len(found) == pytest.approx(1000, rel=0.1)
    assert 10 < found[-1] < 20
    assert times(bursts(DRAW, calls=2, every_s=0.5, count=2)(Random(1), double)) == [0, 0, 0.5, 0.5, 1, 1, 1.5, 1.5]


def test_each_client_has_its_calls_in_order_of_time() -> None:
    for steps in ramp(DRAW, from_per_s=50, to_per_s=90, for_s=5)(Random(1), SIZE):
        found = [step.at_s or 0.0 for step in steps]
        assert found == sorted(found)


def test_bursts_are_dealt_out_to_all_clients() -> None:
    plan = bursts(mix((1, ECHO)), calls=4, every_s=0.5, count=2)(Random(1), SIZE)
    assert [[step.at_s for step in steps] for steps in plan] == [[0.0, 0.5]] * 4


def test_fewer_calls_than_clients_need_no_idle_clients() -> None:
    plan = bursts(DRAW, calls=3, every_s=0.5, count=1)(Random(1), SIZE)
    assert [len(steps) for steps in plan] == [1, 1, 1]


def test_a_later_phase_begins_no_earlier_than_it_should_and_keeps_its_own_times() -> None:
    late = bursts(mix((1, SLEEP)), calls=4, every_s=0.5, count=2)
    plan = phases((0.0, steady("echo", calls=2)), (2.0, steady("cpu", calls=2)), (3.0, late))(Random(1), SIZE)
    assert [(step.command, step.at_s) for step in plan[0]] == [
        *[("echo", None)] * 2,
        ("cpu", 2.0),
        ("cpu", None),
        ("sleep", 3.0),
        ("sleep", 3.5),
    ]


def test_a_phase_may_have_clients_of_its_own() -> None:
    many = together(steady("echo", calls=1), steady("ping", calls=1))
    plan = phases((0.0, steady("cpu", calls=1)), (1.0, many))(Random(1), Size(clients=2))
    assert [[step.command for step in steps] for steps in plan] == [["cpu", "echo"]] * 2 + [["ping"]] * 2


def test_sessions_are_chosen_by_zipfs_law() -> None:
    plan = sessions(steady("echo", calls=5000), count=4, skew=1.0)(Random(1), SIZE)
    found = Counter(step.session for step in flat(plan))
    whole = 1 + 1 / 2 + 1 / 3 + 1 / 4
    for rank in range(4):
        assert found[f"session-{rank}"] / 20_000 == pytest.approx(1 / (rank + 1) / whole, abs=0.015)


def test_without_skew_sessions_are_even_and_a_steps_own_session_is_kept() -> None:
    plan = sessions(steady("echo", calls=2500), count=5, skew=0.0, name="s")(Random(1), SIZE)
    assert all(number == pytest.approx(2000, rel=0.1) for number in Counter(s.session for s in flat(plan)).values())
    kept = sessions(steady("echo", calls=5, session="mine"), count=5)(Random(1), SIZE)
    assert {step.session for step in flat(kept)} == {"mine"}


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (mix, "a mix of no steps"),
        (lambda: mix((0, ECHO)), "'echo' in a mix: a number above 0 is needed, not 0"),
        (lambda: mix((float("nan"), ECHO)), "not nan"),
        (lambda: ramp(DRAW, from_per_s=0, to_per_s=1, for_s=1), "from_per_s of a ramp"),
        (lambda: ramp(DRAW, from_per_s=1, to_per_s=-1, for_s=1), "to_per_s of a ramp"),
        (lambda: ramp(DRAW, from_per_s=1, to_per_s=1, for_s=float("inf")), "for_s of a ramp"),
        (lambda: ramp(DRAW, from_per_s=1, to_per_s=1e7, for_s=2), "at most 10000000 calls"),
        (lambda: bursts(DRAW, calls=0, every_s=1, count=1), "calls 0 of bursts: must be at least 1"),
        (lambda: bursts(DRAW, calls=1, every_s=1, count=0), "count 0 of bursts: must be at least 1"),
        (lambda: bursts(DRAW, calls=1, every_s=0, count=1), "every_s of bursts"),
        (phases, "phases of no workloads"),
        (lambda: phases((1.0, steady("echo", calls=1)), (0.5, steady("echo", calls=1))), "in order of time"),
        (lambda: phases((-1.0, steady("echo", calls=1))), "at 0 s or later"),
        (lambda: sessions(steady("echo", calls=1), count=0), "count 0 of sessions: must be at least 1"),
        (lambda: sessions(steady("echo", calls=1), count=1, skew=-1), "skew -1 of sessions: from 0 to 10"),
    ],
)
def test_an_impossible_part_is_refused_by_name(make: Callable[[], object], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        make()

"""Generated scenarios: the same for the same number, different for others, and each feature and option in some."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from functools import cache
from pathlib import Path

import msgspec
import pytest

from poolproof.bridge import Capability, PoolConfig
from poolproof.harness.compare.catalogue import find_scenarios, is_of_catalogue
from poolproof.harness.explore.choosing import choose_runs, ways_of
from poolproof.harness.explore.domain import NUMBERS, identifiers, text, value
from poolproof.harness.explore.features import FEATURES, OPTIONS, draw_features
from poolproof.harness.explore.found import MOST_FIRST, Found
from poolproof.harness.explore.generated import generated_scenario
from poolproof.harness.explore.workload import NEAR_S
from poolproof.harness.history.equality import same_json
from poolproof.harness.model.errors import UsageError
from poolproof.harness.model.fault import CLOSING, COMMAND_FAULTS, FaultKind
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.workload import Plan, Size, Step
from poolproof.harness.run.request import Request, plan_of
from poolproof.harness.subjects.pools import find_pool

COUNT = 150
V1, V2 = find_pool("v1"), find_pool("v2")


@cache
def generated(number: int) -> Scenario:
    scenario = generated_scenario(f"explore_{number}")
    assert scenario is not None
    return scenario


def plan(number: int) -> Plan:
    return plan_of(generated(number), Request())


@pytest.mark.parametrize("number", [0, 1, 17, 10**15])
def test_a_number_always_makes_the_same_scenario(number: int) -> None:
    again = generated_scenario(f"explore_{number}")
    assert again is not None
    one, other = generated(number), again
    assert (one.config, one.faults, one.fixed_size, one.checkers) == (
        other.config, other.faults, other.fixed_size, other.checkers,
    )  # fmt: skip
    assert msgspec.json.encode(plan_of(one, Request())) == msgspec.json.encode(plan_of(other, Request(seed=5)))


@pytest.mark.parametrize("name", ["explore", "explore_", "explore_01", "explore_-1", "explore_x", "xexplore_1"])
def test_no_other_name_makes_one(name: str) -> None:
    assert generated_scenario(name) is None


def test_the_catalogue_finds_it_by_its_name_alone() -> None:
    (found,) = find_scenarios(["explore_17"])
    assert is_of_catalogue(found)
    with pytest.raises(UsageError, match="explore_x"):
        find_scenarios(["explore_x"])


def test_numbers_make_different_plans() -> None:
    assert len({msgspec.json.encode(plan(number)) for number in range(COUNT)}) == COUNT


def test_each_feature_and_each_option_is_in_some_runs_and_missing_in_others() -> None:
    drawn = [draw_features(random.Random(f"explore/{number}")) for number in range(COUNT)]
    features = Counter(name for one in drawn for name in one.names)
    assert features.keys() == FEATURES.keys()
    assert all(3 <= count < COUNT for count in features.values())
    options = Counter(name for one in drawn for name in one.config)
    expected = {"lazy", "overflow", "max_queue", "max_requests", "min_workers", "zygote", "idle_order"}
    expected |= {"session_affinity", "session_log_bytes", "ping_interval_s", "start_failures_to_open"}
    assert expected <= options.keys()
    assert len(OPTIONS) == len(expected)


@pytest.mark.parametrize("number", range(0, COUNT, 10))
def test_it_has_the_clients_of_its_size_and_its_faults_have_their_steps(number: int) -> None:
    scenario = generated(number)
    labels = {step.label for steps in plan(number) for step in steps}
    assert {fault.when.partition(":")[0] for fault in scenario.faults} <= labels
    assert len(plan(number)) == getattr(scenario.fixed_size, "clients", 0)
    commands = {step.command for steps in plan(number) for step in steps if not step.command.startswith("unknown_")}
    assert commands == set(scenario.commands)


def test_its_options_fit_the_size_of_its_pool() -> None:
    for number in range(3 * COUNT):
        size = generated(number).fixed_size
        assert size is not None
        assert PoolConfig.from_options({**generated(number).config, "workers": size.workers}).workers == size.workers


def test_a_run_that_needs_an_option_needs_a_pool_that_takes_options() -> None:
    for number in range(COUNT):
        scenario = generated(number)
        assert (Capability.OPTIONS in scenario.needs) == (len(scenario.config.keys() - {"env"}) > 3)


def test_some_runs_resize_their_pool_and_need_one_that_can_be_resized() -> None:
    resized = 0
    for number in range(COUNT):
        scenario = generated(number)
        kinds = {fault.kind for fault in scenario.faults}
        assert (Capability.RESIZE in scenario.needs) == (FaultKind.RESIZE in kinds)
        resized += FaultKind.RESIZE in kinds
        if FaultKind.RESIZE in kinds:
            assert not kinds & CLOSING
            assert scenario.fixed_size is not None
            assert scenario.fixed_size.workers > 1
    assert 3 <= resized < COUNT / 2


def test_some_closes_are_drains_and_need_a_pool_that_can_be_drained() -> None:
    ends = []
    for number in range(COUNT):
        scenario = generated(number)
        kinds = {fault.kind for fault in scenario.faults}
        assert (Capability.DRAIN in scenario.needs) == (FaultKind.DRAIN in kinds)
        ends += sorted(kinds & CLOSING)
    assert set(ends) == CLOSING
    assert len(ends) < COUNT / 2


def test_a_plan_is_refused_for_fewer_clients() -> None:
    number = next(number for number in range(COUNT) if len(plan(number)) > 1)
    with pytest.raises(UsageError, match="clients"):
        generated(number).workload(random.Random(1), Size(workers=1, clients=1))


def test_faults_of_clients_hit_the_one_client_that_can_be_interrupted() -> None:
    for number in range(COUNT):
        for fault in generated(number).faults:
            if fault.kind is FaultKind.CLIENT_INTERRUPT:
                label = fault.when.partition(":")[0]
                assert any(step.label == label for step in plan(number)[0])


def test_steps_that_are_faults_say_so() -> None:
    kinds = {step.fault for number in range(COUNT) for steps in plan(number) for step in steps if step.fault}
    assert kinds <= COMMAND_FAULTS
    assert kinds == {FaultKind.EXIT, FaultKind.GARBAGE}


def steps_of_all() -> list[Step]:
    return [step for number in range(COUNT) for steps in plan(number) for step in steps]


def test_equal_calls_come_in_rows_that_can_be_sent_together() -> None:
    rows = Counter(
        command
        for number in range(COUNT)
        if "rows" in generated(number).summary
        for steps in plan(number)
        for command, row in itertools.groupby(step.command for step in steps)
        if len(list(row)) >= 3
    )
    assert {"echo", "pid", "fail"} <= rows.keys()


def test_a_limit_of_requests_has_rows_at_the_begin_where_only_a_few_calls_are_made() -> None:
    for number in range(COUNT):
        if "max_requests" in generated(number).config and "rows" in generated(number).summary:
            for steps in plan(number):
                commands = [step.command for step in steps if not step.label]
                assert len(commands) < 3 or commands[0] == commands[1] == commands[2]


def test_some_calls_have_both_limits_and_some_are_answered_at_their_limit() -> None:
    limited = [step for step in steps_of_all() if step.timeout_s is not None]
    assert any(step.checkout_timeout_s is not None for step in limited)
    assert any(abs(step.timeout_s - step.args["seconds"]) <= NEAR_S for step in limited if step.timeout_s)


def test_some_sessions_are_ended_and_some_stay_smaller_than_their_log() -> None:
    assert any(step.command == "cleanup_session" and step.session for step in steps_of_all())
    small = [
        not {step.command for steps in plan(number) for step in steps if step.session} & {"append", "list"}
        for number in range(COUNT)
        if generated(number).config.get("session_log_bytes") and "long_sessions" in generated(number).summary
    ]
    assert len(small) / 3 < sum(small) < len(small)


# Values.


def test_values_survive_json_and_cover_the_corners() -> None:
    choice = random.Random(1)
    drawn = [value(choice, 5_000) for _ in range(2_000)]
    assert all(same_json(one, msgspec.json.decode(msgspec.json.encode(one))) for one in drawn)
    for number in NUMBERS:
        assert any(same_json(number, one) for one in drawn), number


def test_a_text_is_never_longer_than_asked() -> None:
    choice = random.Random(2)
    drawn = [text(choice, 300) for _ in range(1_000)]
    assert max(map(len, drawn)) == 300
    assert min(map(len, drawn)) == 0


def test_identifiers_have_near_misses() -> None:
    names = identifiers()
    assert len(set(names)) == len(names)
    assert len({name.casefold() for name in names}) < len(names)
    assert len({name[:40] for name in names}) < len(names)
    assert len({name[-8:] for name in names}) < len(names)


# Choosing.


def test_a_seed_chooses_the_same_runs_and_another_seed_others() -> None:
    def names(seed: int) -> list[tuple[str, str, bool]]:
        return [
            (run.scenario.name, run.request.face, run.request.observed)
            for run in choose_runs(8, V2, Request(seed=seed))
        ]

    assert names(1) == names(1)
    assert len(names(1)) == 8
    assert not {name for name, _, _ in names(1)} & {name for name, _, _ in names(2)}


def test_every_face_is_chosen_for_some_run() -> None:
    first = Counter(next(iter(ways_of(f"explore_{number}", V2)))[0] for number in range(400))
    assert first.keys() == {face.name for face in V2.faces}
    assert first["execute"] > 100


def test_the_runs_of_a_comparison_are_spread_over_the_faces() -> None:
    faces = Counter(run.request.face for run in choose_runs(25, V2, Request(seed=6), baseline=V1))
    others = [count for face, count in faces.items() if face != "execute"]
    assert len(others) >= 12
    assert max(others) <= 2
    assert faces["executor"] >= 1  # which can carry out few of the scenarios


def test_a_limit_of_requests_is_often_tried_where_calls_are_made_together() -> None:
    together = {face.name for face in V2.faces if face.batches}
    runs = [run for run in choose_runs(60, V2, Request(seed=7), baseline=V1) if run.request.face != "execute"]
    limited = [run.request.face in together for run in runs if "max_requests" in run.scenario.config]
    others = [run.request.face in together for run in runs if "max_requests" not in run.scenario.config]
    assert sum(limited) / len(limited) > sum(others) / len(others)


def test_a_pool_with_few_capabilities_gets_the_runs_that_it_can_carry_out() -> None:
    for run in choose_runs(5, V1, Request(seed=3)):
        assert run.scenario.needs <= V1.capabilities


def test_what_was_found_before_is_tried_first() -> None:
    runs = choose_runs(2, V2, Request(seed=1), first=["explore_5", "no_scenario"])
    assert runs[0].scenario.name == "explore_5"
    assert len(runs) == 3


def test_findings_are_remembered_by_pool_the_newest_first(tmp_path: Path) -> None:
    found = Found(tmp_path / "store")
    assert found.of("v2") == []
    for number in range(MOST_FIRST + 2):
        found.add("v2", f"explore_{number}")
    found.add("v1", "explore_99")
    found.add("v2", "explore_3")
    assert found.of("v2")[0] == "explore_3"
    assert len(found.of("v2")) == MOST_FIRST
    assert found.of("v1") == ["explore_99"]


def test_some_runs_through_faces_whose_calls_have_events_of_their_own_are_observed() -> None:
    ways = [next(iter(ways_of(f"explore_{number}", V2))) for number in range(400)]
    telling = {face.name for face in V2.faces if face.tells}
    watched = Counter(face for face, observed in ways if observed)
    assert watched.keys() <= telling
    assert {"stream", "lease", "asyncio", "many", "asyncio_many"} <= watched.keys()


def test_options_often_have_what_shows_whether_they_keep_their_promise() -> None:
    drawn = [generated(number) for number in range(COUNT)]
    sizes = [one.fixed_size for one in drawn if one.config.get("lazy") and one.fixed_size is not None]
    assert sum(size.clients < size.workers for size in sizes) > len(sizes) / 4
    logs = [one for one in drawn if one.config.get("session_log_bytes")]
    assert sum(one.config.get("session_affinity") in ("prefer", "none") for one in logs) > len(logs) / 3


def test_a_pool_that_shrinks_and_refuses_who_waits_need_not_fill_up() -> None:
    for number in range(COUNT):
        config = generated(number).config
        names = {checker.name for checker in generated(number).checkers}
        closed = any(fault.kind in CLOSING for fault in generated(number).faults)
        assert ("full_capacity" in names) == (not closed and not {"max_queue", "min_workers"} <= config.keys())


def test_a_session_that_lasts_longer_than_its_limit_is_used_far_more_often() -> None:
    limited = [number for number in range(COUNT) if "session_ttl_s" in generated(number).config]
    assert limited
    for number in limited:
        limit_s = generated(number).config["session_ttl_s"]
        pauses = [step.pause_s for step in plan(number)[0] if step.session and step.pause_s]
        assert max(pauses) < limit_s / 4
        assert sum(pauses) > 2 * limit_s
        assert "session_counters" not in {checker.name for checker in generated(number).checkers}

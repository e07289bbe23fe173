"""The speed of a comparison: one wrong answer in a timed block is UNSAFE, and what cannot be measured is no figure."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from poolproof.bridge import CallTimeout, CommandError, PoolError, Sent
from poolproof.harness.bench import schedules
from poolproof.harness.bench.speeds import decisive, measure_speed
from poolproof.harness.compare.compare import measure_speeds
from poolproof.harness.compare.comparison import Speed
from poolproof.harness.compare.judge import judge
from poolproof.harness.fakes.models.service import ModelService
from poolproof.harness.model.errors import RunError
from poolproof.harness.model.verdict import Decision
from poolproof.harness.model.workload import Size, steady
from poolproof.harness.pytest_plugin.session import Silence
from poolproof.harness.run.runner import Request
from poolproof.harness.subjects.pools import find_pool

Answer = Callable[[str, dict[str, Any]], Any]
SHORT = msgspec.structs.replace(schedules.COMPARING["smoke"], rounds=5, block_s=0.01, warm_s=0.01)


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch, runtime_dir: Any) -> None:
    monkeypatch.setitem(schedules.COMPARING, "quick", SHORT)


def right(command: str, args: dict[str, Any]) -> Any:
    """What the shipped worker answers."""
    return args.get("value", args) if command == "echo" else {"slept_s": args["seconds"], "nonce": args["nonce"]}


def once(bad: Answer, at: int = 5) -> Answer:
    """Right but for one call, which is bad."""
    lock, left = threading.Lock(), [at]

    def answer(command: str, args: dict[str, Any]) -> Any:
        with lock:
            left[0] -= 1
            if left[0] == 0:
                return bad(command, args)
        return right(command, args)

    return answer


def swapping() -> Answer:
    """Two calls at the same time get each other's answers, once."""
    both, lock, place = threading.Barrier(2), threading.Lock(), [0]
    answers: dict[int, Any] = {}

    def answer(command: str, args: dict[str, Any]) -> Any:
        with lock:
            place[0] += 1
            mine = place[0] - 1
        if mine > 1:
            return right(command, args)
        answers[mine] = right(command, args)
        both.wait(15)
        return answers[1 - mine]

    return answer


def late(command: str, args: dict[str, Any]) -> Any:
    raise CallTimeout("too late", sent=Sent.YES)


@pytest.fixture
def made(fake_subject: Callable[..., Any], fake_pool: type) -> Callable[..., Any]:
    """A subject whose pools answer so; `configs` collects their options."""

    def make(name: str, answer: Answer = right, configs: list[Any] | None = None) -> Any:
        def pool(config: Any, observer: Any) -> Any:
            if configs is not None:
                configs.append((config, observer))
            return fake_pool(observer, answer=answer)

        return fake_subject(name=name, make=pool)

    return make


STEPS = {
    "echo": {"workload": steady("echo", {"value": "v"}, calls=1), "commands": ("echo",)},
    "sleep": {"workload": steady("sleep", {"seconds": 0}, calls=1), "commands": ("sleep",)},
}
WRONG: dict[str, Callable[[], Answer]] = {
    "lost": lambda: once(lambda command, args: None),
    "changed": lambda: once(lambda command, args: "WRONG ANSWER"),
    "another's": lambda: once(lambda command, args: right(command, {"nonce": -1, "seconds": 0, "value": [-1, "v"]})),
    "swapped": swapping,
    "failed": lambda: once(late),
}


@pytest.mark.parametrize("command", STEPS)
@pytest.mark.parametrize("kind", WRONG)
def test_one_bad_answer_of_the_candidate_is_unsafe_and_named(
    kind: str, command: str, tiny: Callable[..., Any], made: Callable[..., Any]
) -> None:
    scenario = tiny(timed=True, fixed_size=Size(workers=2, clients=2), **STEPS[command])
    subjects = made("good"), made("bad", WRONG[kind]())
    speeds, troubles = measure_speeds([scenario], *subjects, Request(), progress=Silence())
    assert troubles == ()
    judged = judge([], speeds=speeds)
    assert judged.decision is Decision.UNSAFE
    assert judged.reasons[0].startswith(
        f"wrong answer while the speed was measured: tiny on bad: the request {command} {{"
    )
    assert ("raised CallTimeout" if kind == "failed" else "was answered") in judged.reasons[0]


def test_a_bad_answer_of_the_baseline_is_unsafe_too_and_its_failures_are_no_figure(
    tiny: Callable[..., Any], made: Callable[..., Any]
) -> None:
    scenario = tiny(timed=True, **STEPS["echo"])
    speed = measure_speed(scenario, made("bad", WRONG["lost"]()), made("good"), Request())
    assert len(speed.wrong) == 1
    assert speed.wrong[0].startswith("tiny on bad")
    with pytest.raises(RunError, match="the speed of 'tiny' could not be measured: bad: the request echo"):
        measure_speed(scenario, made("bad", WRONG["failed"]()), made("good"), Request())


def test_good_pools_have_a_ratio_with_its_control(tiny: Callable[..., Any], made: Callable[..., Any]) -> None:
    configs: list[Any] = []
    scenario = tiny(
        timed=True,
        fixed_size=Size(workers=3, clients=1),
        config={"workers": 9, "max_frame_bytes": 4096},
        config_of={"two": {"max_queue": 7}},
        **STEPS["echo"],
    )
    request = Request(worker_command="some program")
    speed = measure_speed(scenario, made("one", configs=configs), made("two", configs=configs), request)
    assert (speed.scenario, speed.metric, speed.blocks, speed.wrong) == ("tiny", "throughput", 5, ())
    assert 0 < speed.low <= speed.ratio <= speed.high
    assert speed.baseline > 0
    assert any(note.startswith("the control has ") for note in speed.notes)
    assert len({config.name for config, _ in configs}) == 3
    assert {config.workers for config, _ in configs} == {3}
    assert {config.max_frame_bytes for config, _ in configs} == {4096}
    assert sorted(config.max_queue == 7 for config, _ in configs) == [False, False, True]
    assert {config.worker_command for config, _ in configs} == {"some program"}
    assert {observer for _, observer in configs} == {None}, "pools are measured as shipped"


def test_the_scenarios_models_are_served_to_the_workers(tiny: Callable[..., Any], made: Callable[..., Any]) -> None:
    configs: list[Any] = []
    scenario = tiny(timed=True, models=ModelService(), **STEPS["echo"])
    measure_speed(scenario, made("one", configs=configs), made("two"), Request())
    assert any("127.0.0.1" in value for value in configs[0][0].env.values())


@pytest.mark.parametrize("error", [CommandError("no"), PoolError("no"), ValueError("foreign")])
def test_a_candidate_of_which_every_call_fails_is_never_safe(
    error: Exception, tiny: Callable[..., Any], made: Callable[..., Any]
) -> None:
    def fail(command: str, args: dict[str, Any]) -> Any:
        raise error

    scenario = tiny(timed=True, **STEPS["echo"])
    speeds, troubles = measure_speeds([scenario], made("good"), made("bad", fail), Request(), progress=Silence())
    assert judge([], speeds=speeds, troubles=troubles).decision is not Decision.SAFE
    assert bool(speeds) is not bool(troubles)


@pytest.mark.parametrize("pool", ["v1", "v2"])
def test_a_pool_that_does_not_start_cannot_be_measured(
    pool: str, tiny: Callable[..., Any], made: Callable[..., Any]
) -> None:
    with pytest.raises(RunError, match="the speed of 'tiny' could not be measured"):
        measure_speed(tiny(), made("good"), find_pool(pool), Request(worker_command="false"))


@pytest.mark.parametrize("profile", ["smoke", "quick", "full"])
def test_every_profile_has_its_schedules(profile: str) -> None:
    assert schedules.COMPARING[profile].limit_s > 0
    assert schedules.make_schedule(profile).profile == profile


def measured(metric: str, low: float, high: float) -> Speed:
    middle = (low + high) / 2
    return Speed(
        scenario="s",
        metric=metric,
        baseline=1.0,
        candidate=middle,
        ratio=middle,
        low=low,
        high=high,
        blocks=9,
        margin=0.1,
        allowed=0.1,
    )


@pytest.mark.parametrize(
    ("intervals", "metric"),
    [
        ([(0.95, 1.05), (0.5, 0.6), (0.5, 0.6)], "throughput"),  # it decides by itself
        ([(0.7, 1.3), (0.95, 1.1), (0.92, 1.2)], "p10"),  # both others are fast enough
        ([(0.7, 1.3), (0.7, 0.8), (0.7, 0.85)], "p10"),  # both others are too slow
        ([(0.7, 1.3), (0.95, 1.1), (0.8, 1.2)], "throughput"),  # they do not agree, so nothing is decided
        ([(0.7, 1.3)], "throughput"),
    ],
)
def test_a_throughput_that_decides_nothing_gives_way_to_times_that_agree(
    intervals: list[tuple[float, float]], metric: str
) -> None:
    names = ("throughput", "p50", "p10")
    found = decisive([measured(name, *ends) for name, ends in zip(names, intervals, strict=False)])
    assert found.metric == metric
    assert (metric == "throughput") == (not found.notes)


def test_a_loss_that_the_scenario_allows_is_no_loss() -> None:
    assert measured("throughput", 0.91, 0.97).fast_enough
    assert not msgspec.structs.replace(measured("throughput", 0.91, 0.97), allowed=0.05).fast_enough
    assert measured("throughput", 0.7, 0.89).too_slow

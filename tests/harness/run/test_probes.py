"""Probes from outside: growth is measured when all records are full; rounds of calls become longer until they tell."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from poolproof.bridge import PoolStatus, Statistics
from poolproof.harness.history.codec import build_history
from poolproof.harness.history.history import History
from poolproof.harness.model.face import Way
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.workload import Step
from poolproof.harness.oracle.limits import LIMITED_LABEL
from poolproof.harness.oracle.status import CROWD_LABEL
from poolproof.harness.oracle.turns import TURN_LABEL, TURN_SESSION
from poolproof.harness.run.pool.limited import HOLDING, ask_with_limits
from poolproof.harness.run.pool.probers import Probers
from poolproof.harness.run.pool.probes import CROWD_MORE, CROWDS_S, STRETCH_CALLS, STRETCHES, Probing
from poolproof.harness.run.pool.turns import ask_in_turn
from poolproof.harness.run.recording.recorder import Recorder

REMEMBERS = 7


class Told:
    """A pool of two workers whose status says that as many calls wait as the test sets."""

    def __init__(self) -> None:
        self.waiting = 0

    def warm_up(self) -> None:
        """Nothing to start."""

    def health_check(self) -> None:
        """Nothing to say."""

    def status(self) -> PoolStatus:
        return PoolStatus(
            name="told", version="v2", state="open", target=2, workers=(), waiting=self.waiting, sessions=0,
            statistics=Statistics(submitted=0, in_flight=0, outcomes={}),
        )  # fmt: skip


class Counting(Way):
    """Counts the calls."""

    calls = 0

    def execute(self, command: str, args: dict[str, Any], **limits: Any) -> Any:
        self.calls += 1
        return args


ECHO = Step(command="echo")


def probers(call: Callable[[tuple[Step, ...]], object]) -> Probers:
    """Clients that only hand their steps over."""
    return Probers(lambda _, steps, __: threading.Thread(target=call, args=(steps,)), first_client=1, first_index=0)


Make = Callable[..., tuple[Probing, Counting, Callable[[], History]]]


@pytest.fixture
def make(tiny: Callable[..., Scenario], build: Any, tmp_path: Path) -> Make:
    """A probing of a fake pool, its calls, and its history so far."""

    def made(options: dict[str, Any] | None = None, **fields: Any) -> tuple[Probing, Counting, Callable[[], History]]:
        recorder = Recorder(tmp_path / "history")
        info = build.info(observed=False, workers=2, options=options or {})
        scenario = msgspec.structs.replace(tiny(), probed=True)
        way = Counting(Told())  # type: ignore[arg-type]

        def history() -> History:
            recorder.close()
            return build_history(info, (tmp_path / "history").read_bytes().splitlines(), [])

        return Probing(way, recorder, scenario, info, **fields), way, history

    return made


def test_growth_is_measured_after_the_records_of_the_last_calls_are_full(make: Make) -> None:
    probing, way, history = make(remembers=REMEMBERS)
    probing.measure_growth()
    assert way.calls == REMEMBERS + (STRETCHES + 1) * STRETCH_CALLS
    growth = history().growth
    assert growth is not None
    assert len(growth.blocks) == len(growth.own_bytes) == len(growth.workers_bytes) == STRETCHES + 1


@pytest.mark.parametrize(("shown", "crowds"), [(CROWD_MORE, 1), (CROWD_MORE - 1, len(CROWDS_S))])
def test_a_crowd_comes_again_for_longer_until_the_status_has_shown_who_waits(
    make: Make, shown: int, crowds: int
) -> None:
    probing, way, _ = make()
    asked: list[Step] = []

    def client(number: int, steps: tuple[Step, ...], index: int) -> threading.Thread:
        def call() -> None:
            asked.extend(steps)
            way.pool.waiting = shown  # type: ignore[attr-defined]
            probing._reader.read()

        return threading.Thread(target=call)

    probing.fill(client, 0)
    lengths = [step.args["seconds"] for step in asked if step.label.startswith(CROWD_LABEL)]
    assert sorted(lengths) == sorted(CROWDS_S[:crowds] * (2 + CROWD_MORE))


def test_a_crowd_is_larger_than_a_queue_with_a_limit(make: Make) -> None:
    probing, _, _ = make(options={"max_queue": 3})
    asked: list[Step] = []
    probing.fill(lambda _, steps, __: threading.Thread(target=asked.extend, args=(steps,)), 0)
    assert sum(step.label.startswith(CROWD_LABEL) for step in asked) == len(CROWDS_S) * (2 + 3 + CROWD_MORE)


def test_each_client_has_numbers_of_its_own() -> None:
    made: list[tuple[int, int]] = []

    def client(number: int, steps: tuple[Step, ...], index: int) -> threading.Thread:
        made.append((number, index))
        return threading.Thread()

    clients = Probers(client, first_client=4, first_index=10)
    clients.client(ECHO, ECHO)
    clients.client(ECHO)
    clients.client(ECHO)
    assert made == [(4, 10), (5, 12), (6, 13)]


@pytest.mark.parametrize(("limits_s", "slow_s", "rounds"), [((60.0, 60.0), 0.0, 1), ((0.02, 0.05, 0.1), 0.3, 3)])
def test_calls_with_limits_come_again_for_longer_until_none_is_late(
    monkeypatch: pytest.MonkeyPatch, limits_s: tuple[float, ...], slow_s: float, rounds: int
) -> None:
    monkeypatch.setattr("poolproof.harness.run.pool.limited.LIMITED_S", limits_s)
    asked: list[Step] = []

    def call(steps: tuple[Step, ...]) -> None:
        asked.extend(steps)
        time.sleep(0.0 if steps[0].label.endswith(HOLDING) else slow_s)

    ask_with_limits(probers(call), 2, in_sessions=True)
    labels = [step.label for step in asked if not step.label.endswith(HOLDING)]
    assert sorted(labels) == sorted(f"{LIMITED_LABEL}{number}" for number in range(rounds) for _ in range(4))
    assert len(asked) - len(labels) == 2 * rounds
    limited = [step for step in asked if step.label in labels]
    assert all(step.timeout_s for step in limited)
    assert sum(step.checkout_timeout_s is not None for step in limited) == len(limited) / 2


def test_calls_in_turn_are_made_by_one_client() -> None:
    asked: list[tuple[Step, ...]] = []
    ask_in_turn(probers(asked.append), 2, in_sessions=True)
    (steps,) = asked
    assert {step.label for step in steps} == {TURN_LABEL}
    assert all(step.pause_s for step in steps)  # so that none of them are sent together
    assert Counter(step.session for step in steps)[TURN_SESSION] == 3


@pytest.mark.parametrize("in_sessions", [False, True])
def test_a_crowd_is_in_sessions_only_if_the_calls_of_the_run_are(make: Make, in_sessions: bool) -> None:
    probing, _, _ = make(in_sessions=in_sessions)
    asked: list[Step] = []
    probing.fill(lambda _, steps, __: threading.Thread(target=asked.extend, args=(steps,)), 0)
    crowd = [step.session for step in asked if step.label.startswith(CROWD_LABEL)]
    assert all((session is not None) is in_sessions for session in crowd)
    assert len(set(crowd)) == (len(crowd) if in_sessions else 1)

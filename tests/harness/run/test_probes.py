"""Probes from outside: growth is measured when all records are full, and a crowd comes until the status counts it."""

from __future__ import annotations

import threading
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
from poolproof.harness.run.pool.probes import CROWD_MORE, CROWDS_S, STRETCH_CALLS, STRETCHES, Probing
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


Make = Callable[..., tuple[Probing, Counting, Callable[[], History]]]


@pytest.fixture
def make(tiny: Callable[..., Scenario], build: Any, tmp_path: Path) -> Make:
    """A probing of a fake pool, its calls, and its history so far."""

    def made(**fields: Any) -> tuple[Probing, Counting, Callable[[], History]]:
        recorder, info = Recorder(tmp_path / "history"), build.info(observed=False, workers=2)
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

    def client(number: int, step: Step, index: int) -> threading.Thread:
        def call() -> None:
            asked.append(step)
            way.pool.waiting = shown  # type: ignore[attr-defined]
            probing._reader.read()

        return threading.Thread(target=call)

    probing.fill(client, 0)
    lengths = [step.args["seconds"] for step in asked if step.label.startswith("crowd")]
    assert sorted(lengths) == sorted(CROWDS_S[:crowds] * (2 + CROWD_MORE))

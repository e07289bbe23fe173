"""Workloads and their size."""

from __future__ import annotations

import random

import pytest

from poolproof.harness.model.fault import FaultKind
from poolproof.harness.model.workload import Size, Step, steady


@pytest.mark.parametrize(("scale", "usual", "count"), [(1.0, 10, 10), (0.5, 10, 5), (0.01, 10, 1), (3.0, 2, 6)])
def test_a_scale_multiplies_the_usual_number_and_leaves_at_least_one(scale: float, usual: int, count: int) -> None:
    assert Size(scale=scale).count(usual) == count


def test_a_steady_workload_gives_every_client_the_same_calls() -> None:
    size = Size(workers=2, clients=3, scale=2.0)
    plan = steady("sleep", {"seconds": 0.1}, calls=4, label="s", fault=FaultKind.HANG)(random.Random(1), size)
    step = Step(command="sleep", args={"seconds": 0.1}, label="s", fault=FaultKind.HANG)
    assert plan == ((step,) * 8,) * 3


def test_a_steady_workload_without_arguments_sends_none() -> None:
    ((step,),) = steady("ping", calls=1)(random.Random(1), Size(clients=1))
    assert step == Step(command="ping")

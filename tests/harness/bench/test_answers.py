"""Answers of timed calls: each request has its own nonce, and a wrong answer differs from one that tells nothing."""

from __future__ import annotations

from typing import Any

import pytest

from poolproof.harness.bench.workloads.answers import Answer, Asked, find_wrong
from poolproof.harness.model.workload import Step


@pytest.mark.parametrize(
    ("step", "args", "expected"),
    [
        (Step(command="echo", args={"value": "v"}), {"value": [7, "v"]}, [7, "v"]),
        (Step(command="echo", args={"a": 1}), {"a": 1, "nonce": 7}, {"a": 1, "nonce": 7}),
        (Step(command="echo", session="s"), {"nonce": 7}, {"nonce": 7, "session_id": "s"}),
        (Step(command="echo", args={"value": 1}, verbatim=True), {"value": 1}, 1),
        (Step(command="sleep", args={"seconds": 2}), {"seconds": 2, "nonce": 7}, {"slept_s": 2, "nonce": 7}),
        (
            Step(command="put", args={"key": "k", "value": 1}),
            {"key": "k", "value": 1, "nonce": 7},
            {"stored": True, "nonce": 7},
        ),
        (Step(command="pid"), {"nonce": 7}, None),
        (Step(command="pid", verbatim=True), {}, None),
    ],
)
def test_each_request_has_its_nonce_and_its_answer(step: Step, args: dict[str, Any], expected: Any) -> None:
    assert Asked(step).request(7) == (args, expected)


def test_the_options_of_a_step_go_with_its_calls() -> None:
    step = Step(command="echo", session="s", timeout_s=2.0, pause_s=0.5)
    asked = Asked(step)
    assert asked.options == {"session": "s", "timeout_s": 2.0}
    assert (asked.command, asked.pause_s, asked.checked) == ("echo", 0.5, True)
    assert not Asked(Step(command="pid", verbatim=True)).checked


def answer(value: Any, command: str = "sleep", expected: Any = None) -> Answer:
    return Answer(command, {"nonce": 7}, 7, value, expected)


SLEPT = {"slept_s": 2, "nonce": 7}


@pytest.mark.parametrize(
    ("doubtful", "right", "is_wrong"),
    [
        (answer([8, "v"], "echo", [7, "v"]), set(), True),
        (answer(None, "echo", [7, "v"]), set(), True),
        (answer({"slept_s": 2, "nonce": 8}, expected=SLEPT), set(), True),
        (answer(None, expected=SLEPT), {"sleep"}, True),
        (answer({"slept_s": 3, "nonce": 7}, expected=SLEPT), {"sleep"}, True),
        (answer({"slept_s": 2}, expected=SLEPT), {"sleep"}, True),
        (answer({"took": 2, "nonce": 7}, expected=SLEPT), set(), False),
        (answer(None, expected=SLEPT), {"echo"}, False),
        (answer("done", "own_command"), set(), False),
        (answer("done", "own_command"), {"own_command"}, True),
    ],
)
def test_what_is_wrong_and_what_tells_nothing(doubtful: Answer, right: set[str], is_wrong: bool) -> None:
    assert find_wrong({"v2": [doubtful], "v1": []}, right) == {"v2": (doubtful,) * is_wrong, "v1": ()}


def test_a_nonce_that_one_pool_returns_is_demanded_of_the_other() -> None:
    carries, lacks = answer({"took": 2, "nonce": 7}), answer({"took": 2})
    assert find_wrong({"v1": [carries], "v2": [lacks]}, set()) == {"v1": (), "v2": (lacks,)}


def test_an_answer_is_told_with_its_request() -> None:
    assert str(answer({"nonce": 8})) == "the request sleep {'nonce': 7} was answered with {'nonce': 8}"
    assert len(str(answer("x" * 5000))) < 300

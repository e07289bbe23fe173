"""The shapes in which workers write the answers of program commands: names, ids, times, refusals."""

from __future__ import annotations

from typing import Any

import pytest

from poolproof.bridge.dspy.answers import gives_program, read, refusal


@pytest.mark.parametrize(
    "told",
    [
        ["p", "q"],
        [{"id": "p"}, {"program_id": "q", "created_at": 1.5}],
        [{"name": "q"}, {"id": "p"}],
        {"q": {"created_at": 1.5}, "p": {}},
    ],
)
def test_programs_are_names_in_any_shape(told: Any) -> None:
    assert read("list_programs", {"programs": told}) == {"programs": ["p", "q"], "total_count": 2}


def test_ids_may_be_numbers() -> None:
    assert read("list_programs", {"programs": [2, {"id": 1}], "total_count": 2}) == {
        "programs": ["1", "2"],
        "total_count": 2,
    }
    assert read("delete_program", {"id": 7, "status": "deleted"}) == {"id": 7, "program_id": "7", "status": "deleted"}


def test_a_signature_gives_its_names_and_keeps_its_details() -> None:
    told = {"inputs": [{"name": "q", "type": "str"}, "context"], "outputs": [{"name": "a"}]}
    found: Any = read("create_program", {"program_id": "p", "signature": told})
    assert found["signature"] == {"inputs": ["q", "context"], "outputs": ["a"]}
    assert found["fields"] == told
    assert read("create_program", {"program_id": "p", "signature": {"inputs": ["q"], "outputs": ["a"]}}) == {
        "program_id": "p",
        "signature": {"inputs": ["q"], "outputs": ["a"]},
    }


@pytest.mark.parametrize(("told", "read_as"), [(0, "1970-01-01T00:00:00+00:00"), ("yesterday", "yesterday")])
def test_times_may_be_seconds(told: Any, read_as: str) -> None:
    found: Any = read("get_program_info", {"program_id": "p", "created_at": told, "last_executed": None})
    assert (found["created_at"], "last_executed" in found) == (read_as, False)


@pytest.mark.parametrize(
    ("told", "bytes_"), [({"rss": 5, "vms": 9, "error": "no psutil"}, 5), (5.0, 5), (5, 5), ({}, None), (None, None)]
)
def test_memory_may_be_an_object(told: Any, bytes_: int | None) -> None:
    found: Any = read("get_stats", {"memory_usage": told})
    assert found["memory_usage"] == bytes_


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"error": "API key is required"}, "API key is required"),
        ({"error": {"message": "too long", "code": 7}}, "too long"),
        ({"error": {"code": 7}}, '{"code":7}'),
        ({"error": ["one", "two"]}, '["one","two"]'),
        ({"status": "error", "message": "no model"}, "no model"),
        ({"status": "Failed"}, '{"status":"Failed"}'),
        ({"error": True, "detail": "odd"}, "odd"),
        ({"status": "configured", "error": None}, ""),
        ({"error_count": 3}, ""),
        (["error"], ""),
        (None, ""),
    ],
)
def test_a_refusal_has_the_workers_own_reason(answer: Any, reason: str) -> None:
    assert refusal(answer) == reason


def test_only_a_worker_that_leaves_its_programs_to_the_caller_gives_them() -> None:
    assert gives_program({"program_id": "p", "field_mapping": {}})
    assert not gives_program({"program_id": "p", "signature": {}})


@pytest.mark.parametrize("answer", [None, 5, "text", ["p"]])
def test_an_unknown_shape_is_left_for_the_record_to_refuse(answer: Any) -> None:
    assert read("list_programs", answer) == answer

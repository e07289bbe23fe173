"""ProgramAdapter: what it asks of a pool, what it makes of the answers, and that an odd one is an error."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from poolproof.bridge import AnswerError, CommandError, Sent
from poolproof.bridge.dspy.adapter import DEFAULT_SESSION, ProgramAdapter
from poolproof.harness.fakes.backends.making import make_mock
from poolproof.harness.fakes.backends.mock import MockPool
from poolproof.harness.fakes.backends.script import Script, ScriptLine


class Listening(MockPool):
    """A mock pool that notes what it was asked, and with which limit."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str | None, str, dict[str, Any], float | None]] = []

    def execute_in_session(
        self,
        session_id: str,
        command: str,
        args: dict[str, Any] | None = None,
        *,
        timeout_s: float | None = None,
        checkout_timeout_s: float | None = None,
    ) -> Any:
        self.asked.append((session_id, command, args or {}, timeout_s))
        return self.execute(command, args, session=session_id)


def test_only_what_was_given_is_sent() -> None:
    pool = Listening()
    adapter = ProgramAdapter(pool, timeout_s=7.0)
    adapter.configure_lm("openai/m", temperature=0.0, request_timeout_s=3.0, api_key_env="K")
    adapter.session_adapter("s").create_program("p", "q -> a", timeout_s=1.0)
    assert pool.asked == [
        (
            DEFAULT_SESSION,
            "configure_lm",
            {"model": "openai/m", "temperature": 0.0, "timeout_s": 3.0, "api_key_env": "K"},
            7.0,
        ),
        ("s", "create_program", {"id": "p", "signature": "q -> a", "program_type": "predict"}, 1.0),
    ]


def test_an_answer_that_the_command_does_not_give_is_an_error_of_its_own() -> None:
    lines = [ScriptLine(command="list_programs", answer={"programs": "p", "total_count": 1})]
    with make_mock("odd", Script(lines)) as pool, pytest.raises(AnswerError) as caught:
        ProgramAdapter(pool).list_programs()
    assert str(caught.value).startswith("the answer of 'list_programs' has not the documented form: ")
    assert isinstance(caught.value.__cause__, msgspec.ValidationError)
    assert caught.value.sent is Sent.YES


def test_what_a_newer_worker_adds_is_passed_over() -> None:
    lines = [ScriptLine(command="list_programs", answer={"programs": ["p"], "total_count": 1, "more": True})]
    with make_mock("newer", Script(lines)) as pool:
        assert ProgramAdapter(pool).list_programs().programs == ("p",)


def test_the_end_of_a_session_ends_its_programs() -> None:
    with make_mock("ending") as pool:
        adapter = ProgramAdapter(pool, "s")
        assert adapter.end_session() is False
        adapter.create_program("p", "q -> a")
        assert adapter.end_session() is True
        with pytest.raises(CommandError, match="program 'p' is not found"):
            adapter.get_program_info("p")

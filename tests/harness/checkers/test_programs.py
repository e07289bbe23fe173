"""OwnModel: one model gives one answer to one question, and another model another."""

from __future__ import annotations

from typing import Any

import pytest

from poolproof.harness.checkers import OwnModel
from poolproof.harness.history.history import Op
from poolproof.harness.model.verdict import Verdict

CHECKER = OwnModel()


class Talk:
    """The calls of some sessions, one after another."""

    def __init__(self, build: Any) -> None:
        self._build = build
        self.ops: list[Op] = []

    def add(self, session: str, command: str, args: dict[str, Any], **fields: Any) -> Talk:
        number = len(self.ops)
        usual: dict[str, Any] = {"value": {}}
        op = self._build.op(number, number * 20, number * 20 + 10, command=command, args=args, session=session,
                            **(usual | fields))  # fmt: skip
        self.ops.append(op)
        return self

    def opening(self, session: str, model: str, signature: str = "q -> a") -> Talk:
        self.add(session, "configure_lm", {"model": model, "nonce": session})
        return self.add(session, "create_program", {"id": "p", "signature": signature, "program_type": "predict"})

    def ask(self, session: str, question: str, answer: str | None, **fields: Any) -> Talk:
        args = {"program_id": "p", "inputs": {"q": question}, "nonce": str(len(self.ops))}
        value = None if answer is None else {"outputs": {"a": answer}}
        return self.add(session, "execute_program", args, **({"value": value} | fields))

    def verdict(self) -> tuple[Verdict, str]:
        found = CHECKER.check(self._build.history(*self.ops))
        return found.verdict, found.claim


@pytest.fixture
def talk(build: Any) -> Talk:
    return Talk(build)


def test_each_model_has_its_own_answers(talk: Talk) -> None:
    talk.opening("s", "one").opening("t", "other")
    talk.ask("s", "why", "x").ask("t", "why", "y").ask("s", "why", "x").ask("s", "how", "z")
    assert talk.verdict() == (
        Verdict.PASS,
        "4 executions in 2 sessions were each answered by the model of their session; there were 2 models",
    )


def test_an_answer_of_another_sessions_model_is_a_failure(talk: Talk) -> None:
    talk.opening("s", "one").opening("t", "other").ask("s", "why", "x").ask("t", "why", "x")
    verdict, claim = talk.verdict()
    assert verdict is Verdict.FAIL
    assert claim == "1 answers did not come from the model of their session"


def test_two_answers_of_one_model_to_one_question_are_a_failure(talk: Talk) -> None:
    talk.opening("s", "one").opening("t", "one").ask("s", "why", "x").ask("t", "why", "y")
    assert talk.verdict()[0] is Verdict.FAIL


def test_a_model_and_a_program_count_from_their_acknowledgement_on(talk: Talk) -> None:
    talk.opening("s", "one").ask("s", "why", "x")
    talk.add("s", "configure_lm", {"model": "other"}, outcome="CommandError")
    talk.ask("s", "why", "x")
    talk.add("s", "configure_lm", {"model": "other"}).ask("s", "why", "y")
    talk.add("s", "delete_program", {"program_id": "p"})
    talk.add("s", "create_program", {"id": "p", "signature": "q -> b", "program_type": "predict"}).ask("s", "why", "z")
    assert talk.verdict()[0] is Verdict.PASS


def test_after_a_change_that_nobody_knows_of_the_session_is_not_judged(talk: Talk) -> None:
    talk.opening("s", "one").ask("s", "why", "x")
    talk.add("s", "configure_lm", {"model": "other"}, outcome="CallTimeout").ask("s", "why", "y")
    assert talk.verdict() == (
        Verdict.PASS,
        "1 executions in 1 sessions were each answered by the model of their session; there were 1 models",
    )


def test_without_an_execution_nobody_knows(talk: Talk) -> None:
    talk.opening("s", "one").ask("s", "why", None, outcome="WorkerCrashed")
    assert talk.verdict() == (Verdict.UNKNOWN, "no program was executed")


def test_calls_outside_sessions_and_other_commands_are_left_out(talk: Talk) -> None:
    talk.opening("s", "one").ask("s", "why", "x").add("t", "echo", {"program_id": "p"}, value={"outputs": "y"})
    outside: Any = None
    talk.opening(outside, "one").ask(outside, "why", "another")
    assert talk.verdict() == (
        Verdict.PASS,
        "1 executions in 1 sessions were each answered by the model of their session; there were 1 models",
    )


def test_an_execution_in_doubt_changes_nothing(talk: Talk) -> None:
    talk.opening("s", "one").ask("s", "why", "x").ask("s", "why", None, outcome="CallTimeout").ask("s", "why", "y")
    assert talk.verdict()[0] is Verdict.FAIL


def test_an_execution_before_its_program_or_model_is_known_tells_nothing(talk: Talk) -> None:
    talk.ask("s", "why", "x").add("t", "configure_lm", {"model": "one"}).ask("t", "why", "x")
    talk.add("u", "create_program", {"id": "p", "signature": "q -> a"}).ask("u", "why", "x")
    assert talk.verdict() == (Verdict.UNKNOWN, "no program was executed")

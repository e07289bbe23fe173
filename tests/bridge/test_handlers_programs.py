"""The legacy program commands: their fields, their errors, and outputs that follow from the inputs alone."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from poolproof.bridge.worker.handlers import COMMANDS, Context, HandlerError

SIGNATURE = {"inputs": ["question", "context"], "outputs": ["answer", "score"]}


def _ask(context: Context, command: str, **args: Any) -> Any:
    return COMMANDS[command](context, args)


def _create(context: Context, **args: Any) -> Any:
    return _ask(context, "create_program", **({"id": "p", "signature": SIGNATURE} | args))


def test_a_model_is_named_for_its_session(context: Context) -> None:
    answer = _ask(context, "configure_lm", model="m-1", provider="acme", temperature=0.2, session_id="s", nonce=1)
    assert answer == {"status": "configured", "model": "m-1", "provider": "acme", "temperature": 0.2, "nonce": 1}
    assert context.sessions["s"].model == {"model": "m-1", "provider": "acme", "temperature": 0.2}
    assert context.session({}).model == {}


def test_a_model_needs_no_more_than_its_name(context: Context) -> None:
    expected = {"status": "configured", "model": "m", "provider": "none", "temperature": 0.7}
    assert _ask(context, "configure_lm", model="m") == expected


@pytest.mark.parametrize("args", [{}, {"model": ""}, {"model": 5}, {"model": "m", "temperature": 2.1}])
def test_a_model_that_cannot_be_is_an_error_and_changes_nothing(context: Context, args: dict[str, Any]) -> None:
    with pytest.raises(HandlerError):
        _ask(context, "configure_lm", **args)
    assert context.session({}).model == {}


@pytest.mark.parametrize("kind", ["predict", "chain_of_thought", "react"])
def test_a_program_is_created_with_its_signature(context: Context, kind: str) -> None:
    assert _create(context, program_type=kind, nonce=1) == {
        "program_id": "p",
        "status": "created",
        "signature": SIGNATURE,
        "program_type": kind,
        "nonce": 1,
    }


def test_a_program_is_a_prediction_unless_it_says_otherwise(context: Context) -> None:
    assert _create(context)["program_type"] == "predict"


def test_the_legacy_form_of_a_field_is_its_name(context: Context) -> None:
    signature = {"inputs": [{"name": "q", "description": "a question"}], "outputs": [{"name": "a"}, "b"]}
    assert _create(context, signature=signature)["signature"] == {"inputs": ["q"], "outputs": ["a", "b"]}


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        ({"id": ""}, "argument 'id'"),
        ({"id": None}, "argument 'id'"),
        ({"program_type": "guess"}, "one of predict, chain_of_thought, react, not 'guess'"),
        ({"program_type": ["predict"]}, "argument 'program_type'"),
        ({"signature": None}, "argument 'signature'"),
        ({"signature": ["a"]}, "argument 'signature'"),
        ({"signature": {"inputs": ["a"]}}, "outputs must be a list"),
        ({"signature": {"inputs": [], "outputs": ["a"]}}, "inputs must be a list"),
        ({"signature": {"inputs": "a", "outputs": ["a"]}}, "inputs must be a list"),
        ({"signature": {"inputs": [""], "outputs": ["a"]}}, "a field of inputs has the name ''"),
        ({"signature": {"inputs": ["a"], "outputs": [{"nom": "x"}]}}, "a field of outputs has the name None"),
        ({"signature": {"inputs": ["a", 5], "outputs": ["a"]}}, "a field of inputs has the name 5"),
    ],
)
def test_a_program_that_cannot_be_is_an_error_and_leaves_none(
    context: Context, args: dict[str, Any], reason: str
) -> None:
    with pytest.raises(HandlerError) as caught:
        _create(context, **args)
    assert reason in str(caught.value)
    assert _ask(context, "list_programs")["total_count"] == 0


def test_a_program_is_created_once_in_each_session(context: Context) -> None:
    _create(context)
    with pytest.raises(HandlerError, match="program 'p' exists already"):
        _create(context)
    assert _create(context, session_id="other")["status"] == "created"


def test_the_same_inputs_give_the_same_outputs_on_every_worker(context: Context) -> None:
    other = Context(9, "pool-worker", lambda _: None)
    inputs = {"context": "c", "question": "q", "extra": 1}
    answers = []
    for one in (context, other):
        _create(one)
        answers.append(_ask(one, "execute_program", program_id="p", inputs=inputs, nonce=3))
    assert answers[0]["outputs"] == answers[1]["outputs"]
    assert answers[0]["outputs"] == {
        "answer": "answer of question=q, context=c",
        "score": "score of question=q, context=c",
    }
    assert (answers[0]["program_id"], answers[0]["nonce"]) == ("p", 3)


def test_other_inputs_give_other_outputs(context: Context) -> None:
    _create(context)
    first, second = (
        _ask(context, "execute_program", program_id="p", inputs={"question": q, "context": 0}) for q in "ab"
    )
    assert first["outputs"] != second["outputs"]


def test_the_execution_time_is_a_duration(context: Context) -> None:
    _create(context)
    answer = _ask(context, "execute_program", program_id="p", inputs={"question": 1, "context": 2})
    assert 0 <= answer["execution_time"] < 10


def test_a_chain_of_thought_gives_its_reasoning_first(context: Context) -> None:
    _create(context, program_type="chain_of_thought")
    outputs = _ask(context, "execute_program", program_id="p", inputs={"question": "q", "context": "c"})["outputs"]
    assert list(outputs) == ["reasoning", "answer", "score"]
    assert outputs["reasoning"] == "from question=q, context=c"


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        ({"program_id": "q", "inputs": {}}, "program 'q' is not found"),
        ({"program_id": "p", "session_id": "other", "inputs": {}}, "program 'p' is not found"),
        ({"inputs": {}}, "argument 'program_id'"),
        ({"program_id": "p"}, "argument 'inputs': an object is needed, not None"),
        ({"program_id": "p", "inputs": ["q"]}, "argument 'inputs'"),
        ({"program_id": "p", "inputs": {"question": "q"}}, "program 'p' needs the input 'context'"),
    ],
)
def test_an_execution_that_cannot_be_is_an_error_and_is_not_counted(
    context: Context, args: dict[str, Any], reason: str
) -> None:
    _create(context)
    with pytest.raises(HandlerError) as caught:
        _ask(context, "execute_program", **args)
    assert reason in str(caught.value)
    assert _ask(context, "get_program_info", program_id="p")["execution_count"] == 0


def test_programs_are_listed_in_order_for_their_session(context: Context) -> None:
    for name in ("b", "a"):
        _create(context, id=name)
    _create(context, id="c", session_id="other")
    assert _ask(context, "list_programs", nonce=1) == {"programs": ["a", "b"], "total_count": 2, "nonce": 1}


def test_a_program_tells_its_history(context: Context) -> None:
    _create(context)
    fresh = _ask(context, "get_program_info", program_id="p", nonce=1)
    assert (fresh["execution_count"], fresh["last_executed"], fresh["nonce"]) == (0, None, 1)
    for _ in range(2):
        _ask(context, "execute_program", program_id="p", inputs={"question": 1, "context": 2})
    used = _ask(context, "get_program_info", program_id="p")
    assert (used["program_id"], used["signature"], used["execution_count"]) == ("p", SIGNATURE, 2)
    assert datetime.fromisoformat(used["created_at"]) <= datetime.fromisoformat(used["last_executed"])


def test_a_deleted_program_is_gone_and_may_be_created_anew(context: Context) -> None:
    _create(context)
    assert _ask(context, "delete_program", program_id="p", nonce=1) == {
        "program_id": "p",
        "status": "deleted",
        "nonce": 1,
    }
    for command in ("delete_program", "get_program_info"):
        with pytest.raises(HandlerError, match="program 'p' is not found"):
            _ask(context, command, program_id="p")
    assert _create(context)["status"] == "created"

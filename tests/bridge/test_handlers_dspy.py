"""Real DSPy programs in a worker's handlers: what they answer, and that what is wrong is an error that names it."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("dspy", reason="dspy is not installed: pip install 'poolproof[dspy]'")

from poolproof.bridge.worker.handlers import COMMANDS, Context, HandlerError
from poolproof.bridge.worker.handlers.engine import load_engine
from poolproof.harness.fakes.models.loopback import LoopbackModels
from poolproof.harness.fakes.models.service import ModelService, Outage

pytestmark = pytest.mark.filterwarnings("default")  # DSPy's and litellm's own are not this project's
KEY = "sk-planted-0123456789"
RICH = "question: str, n: int -> answer: int, tags: list[str], sure: bool, kind: Literal['a', 'b'], share: float"
ASKED = {"question": "why?", "n": 3}


@pytest.fixture(scope="module")
def models() -> Iterator[LoopbackModels]:
    with LoopbackModels(ModelService(key=KEY)) as models:
        yield models


@pytest.fixture
def context() -> Context:
    return Context(1, "pool-worker", lambda _: None, load_engine("dspy"))


def _ask(context: Context, command: str, **args: Any) -> Any:
    return COMMANDS[command](context, args)


def _refused(context: Context, command: str, **args: Any) -> str:
    with pytest.raises(HandlerError) as caught:
        _ask(context, command, **args)
    return str(caught.value)


def _configure(context: Context, models: LoopbackModels, model: str = "openai/loop", **args: Any) -> Any:
    usual = {"model": model, "api_base": models.address, "api_key": KEY, "num_retries": 0}
    return _ask(context, "configure_lm", **(usual | args))


def test_importing_dspy_has_started_no_thread_of_its_own() -> None:
    assert not [thread.name for thread in threading.enumerate() if "dspy" in thread.name or "litellm" in thread.name]


def test_ping_and_statistics_say_that_dspy_is_there(context: Context) -> None:
    assert _ask(context, "ping")["dspy_available"] is True
    assert _ask(context, "get_stats")["dspy_available"] is True


@pytest.mark.parametrize("kind", ["predict", "chain_of_thought", "react"])
def test_typed_outputs_come_from_the_model_and_are_the_same_again(
    context: Context, models: LoopbackModels, kind: str
) -> None:
    configured = _configure(context, models)
    assert configured == {"status": "configured", "model": "openai/loop", "provider": "openai", "temperature": 0.7}
    options = {"tools": ["os.path:basename"], "max_iters": 3} if kind == "react" else {}
    created = _ask(context, "create_program", id="p", signature=RICH, program_type=kind, **options)
    assert created["signature"]["inputs"] == ["question", "n"]
    first, second = (_ask(context, "execute_program", program_id="p", inputs=ASKED)["outputs"] for _ in range(2))
    assert first == second
    assert isinstance(first["answer"], int)
    assert isinstance(first["sure"], bool)
    assert isinstance(first["share"], float)
    assert len(first["tags"]) == 2
    assert first["kind"] in ("a", "b")
    assert ("reasoning" in first) is (kind != "predict")
    if kind == "react":
        assert first["trajectory"]["tool_name_0"] == "basename"
        assert first["trajectory"]["observation_0"] == "loopback"
        assert first["trajectory"]["tool_name_1"] == "finish"
    assert _ask(context, "get_program_info", program_id="p")["execution_count"] == 2


def test_described_fields_and_instructions_reach_the_model(context: Context, models: LoopbackModels) -> None:
    _configure(context, models)
    outputs = []
    for number, (description, instructions) in enumerate([("", ""), ("in one word", ""), ("", "Be brief.")]):
        signature = {
            "inputs": [{"name": "question", "type": "string"}],
            "outputs": [{"name": "answer", "description": description}],
            "instructions": instructions,
        }
        _ask(context, "create_program", id=f"p{number}", signature=signature)
        outputs.append(_ask(context, "execute_program", program_id=f"p{number}", inputs=ASKED)["outputs"]["answer"])
    assert len(set(outputs)) == 3  # the loopback model's answer follows from the whole prompt


def test_the_other_form_of_prompt_is_answered_too(context: Context, models: LoopbackModels) -> None:
    _configure(context, models, adapter="json")
    _ask(context, "create_program", id="p", signature=RICH)
    assert isinstance(_ask(context, "execute_program", program_id="p", inputs=ASKED)["outputs"]["answer"], int)


def test_two_sessions_have_their_own_models_and_programs_at_once(context: Context) -> None:
    for session, answer in (("a", "red"), ("b", "blue")):
        _ask(context, "configure_lm", model="dummy", answers={"why?": {"answer": answer}}, session_id=session)
        _ask(context, "create_program", id="p", signature="question -> answer", session_id=session)
    for session, answer in (("a", "red"), ("b", "blue"), ("a", "red")):
        told = _ask(context, "execute_program", program_id="p", inputs={"question": "why?"}, session_id=session)
        assert told["outputs"] == {"answer": answer}
    _ask(context, "configure_lm", model="dummy", answers={"why?": {"answer": "green"}}, session_id="a")
    told = _ask(context, "execute_program", program_id="p", inputs={"question": "why?"}, session_id="a")
    assert told["outputs"] == {"answer": "green"}


def test_a_session_can_be_restored_elsewhere(context: Context, models: LoopbackModels) -> None:
    _configure(context, models, session_id="s")
    _ask(context, "create_program", id="p", signature=RICH, session_id="s")
    before = _ask(context, "execute_program", program_id="p", inputs=ASKED, session_id="s")["outputs"]
    state = _ask(context, "snapshot_session", session_id="s")
    other = Context(2, "pool-worker", lambda _: None, load_engine("dspy"))
    _ask(other, "restore_session", session_id="s", state=state)
    assert _ask(other, "execute_program", program_id="p", inputs=ASKED, session_id="s")["outputs"] == before


def test_a_program_needs_a_model_and_all_of_its_inputs(context: Context, models: LoopbackModels) -> None:
    _ask(context, "create_program", id="p", signature=RICH)
    run = {"program_id": "p", "inputs": ASKED}
    assert "program 'p': no model is configured in this session" in _refused(context, "execute_program", **run)
    _configure(context, models)
    assert "needs the input 'n'" in _refused(context, "execute_program", program_id="p", inputs={"question": "w"})
    wrong = _refused(context, "execute_program", program_id="p", inputs={"question": "w", "n": "many"})
    assert "program 'p': the input 'n': Input should be a valid integer" in wrong
    assert "program 'q' is not found" in _refused(context, "execute_program", program_id="q", inputs={})
    _ask(context, "delete_program", program_id="p")
    assert "program 'p' is not found" in _refused(context, "execute_program", **run)


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        ({"signature": "question: Nothing -> answer"}, "the field 'question' of the type 'Nothing'"),
        ({"signature": "question -> class"}, "the field 'class'"),
        ({"tools": ["os:getcwd"]}, "argument 'tools': only programs of the type react have this argument"),
        ({"program_type": "react", "tools": ["os:nothing"]}, "'os:nothing' cannot be imported"),
        ({"program_type": "react", "tools": ["getcwd"]}, "package.module:function is needed, not 'getcwd'"),
        ({"program_type": "react", "tools": "os:getcwd"}, "a list of package.module:function is needed"),
        ({"program_type": "react", "max_iters": 0}, "a whole number from 1 to 1000 is needed, not 0"),
    ],
)
def test_a_program_that_cannot_be_is_refused_when_it_is_created(
    context: Context, args: dict[str, Any], reason: str
) -> None:
    assert reason in _refused(context, "create_program", **({"id": "p", "signature": "question -> answer"} | args))
    assert _ask(context, "list_programs")["total_count"] == 0


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        ({"model": "gpt"}, "argument 'model': provider/model is needed, not 'gpt'"),
        ({"model": "openai/"}, "'openai/' names a provider, but no model"),
        ({"model": "openai/x", "temprature": 1}, "unknown argument 'temprature'; did you mean 'temperature'?"),
        ({"model": "openai/x", "max_tokens": 1.5}, "argument 'max_tokens'"),
        ({"model": "openai/x", "timeout_s": -1}, "argument 'timeout_s'"),
        ({"model": "openai/x", "backend": "curl"}, "one of auto, litellm, not 'curl'"),
        ({"model": "openai/x", "adapter": "yaml"}, "one of chat, json, xml, not 'yaml'"),
        ({"model": "openai/x", "api_key_env": "NO_SUCH_KEY"}, "the worker has no variable 'NO_SUCH_KEY'"),
        (
            {"model": "openai/x", "answers": {}},
            "required for models of the provider 'dummy', and not allowed for others",
        ),
        ({"model": "dummy"}, "argument 'answers'"),
        ({"model": "dummy", "answers": ["a"]}, "an object that maps a part of the prompt to outputs is needed"),
    ],
)
def test_a_model_that_cannot_be_is_refused_and_changes_nothing(
    context: Context, args: dict[str, Any], reason: str
) -> None:
    assert reason in _refused(context, "configure_lm", **args)
    assert context.session({}).model == {}


def test_a_key_that_is_no_string_is_not_told(context: Context) -> None:
    assert "1234567" not in _refused(context, "configure_lm", model="openai/x", api_key=1234567)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("fails-429", "the loopback model answers 429"),
        ("fails-500", "the loopback model answers 500"),
        ("hangs-up", ""),
        ("hangs", ""),
    ],
)
def test_the_failure_of_a_provider_is_an_error_that_names_model_and_reason(
    context: Context, models: LoopbackModels, model: str, reason: str
) -> None:
    _configure(context, models, f"openai/{model}", timeout_s=0.5)
    _ask(context, "create_program", id="p", signature="question -> answer")
    told = _refused(context, "execute_program", program_id="p", inputs={"question": "why?"})
    assert re.search(rf"program 'p': the model 'openai/{model}' failed: \w+: .*{reason}", told)
    assert "\n" not in told


def test_an_outage_ends_and_the_session_goes_on(context: Context, models: LoopbackModels) -> None:
    _configure(context, models)
    _ask(context, "create_program", id="p", signature=RICH)
    before = _ask(context, "execute_program", program_id="p", inputs=ASKED)["outputs"]
    models.outage(Outage.UNAVAILABLE)
    try:
        assert "503" in _refused(context, "execute_program", program_id="p", inputs=ASKED)
    finally:
        models.outage(None)
    assert _ask(context, "execute_program", program_id="p", inputs=ASKED)["outputs"] == before


def test_a_key_that_the_provider_tells_again_is_hidden(
    context: Context, models: LoopbackModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    _ask(context, "create_program", id="p", signature="question -> answer")
    monkeypatch.setitem(os.environ, "MY_PROVIDER_KEY", "sk-other-0123456789")
    for wrong in ({"api_key": "sk-wrong-0123456789"}, {"api_key": None, "api_key_env": "MY_PROVIDER_KEY"}):
        _configure(context, models, **wrong)
        told = _refused(context, "execute_program", program_id="p", inputs={"question": "why?"})
        assert "Incorrect API key provided: [redacted]" in told
        assert "0123456789" not in told

"""The model server: its fates and answers follow from seed and prompt, and over HTTP it does what was decided."""

from __future__ import annotations

import json
import socket
import statistics
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from poolproof.harness.fakes.models import loopback
from poolproof.harness.fakes.models.answers import answer, wanted
from poolproof.harness.fakes.models.loopback import LoopbackModels
from poolproof.harness.fakes.models.service import BASE_VARIABLE, KEY_VARIABLE, ModelService, Outage, decide
from poolproof.harness.model.errors import RunError, UsageError

KEY = "sk-planted-0123456789"
CHAT = (
    "[[ ## question ## ]]\nwhy?\n\nRespond with the corresponding output fields, starting with the field "
    "`[[ ## reasoning ## ]]`, then `[[ ## answer ## ]]` (must be formatted as a valid Python int), then "
    "`[[ ## kind ## ]]` (must be formatted as a valid Python Literal['a', 'b']), then `[[ ## tags ## ]]` (must be "
    "formatted as a valid Python list[str]), and then ending with the marker for `[[ ## completed ## ]]`."
)
JSON_PROMPT = (
    "why?\n\nRespond with a JSON object in the following order of fields: `sure` (must be formatted as a valid Python "
    "bool), then `share` (must be formatted as a valid Python float), then `extra` (must be formatted as a valid "
    "Python dict[str, int])."
)


def chat(text: str) -> list[dict[str, Any]]:
    return [{"role": "system", "content": "Be good."}, {"role": "user", "content": text}]


@pytest.fixture(scope="module")
def models() -> Iterator[LoopbackModels]:
    with LoopbackModels(ModelService(key=KEY)) as models:
        yield models


def post(models: LoopbackModels, body: object, key: str = KEY, path: str = "/chat/completions") -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    request = urllib.request.Request(models.address + path, data, headers)
    with urllib.request.urlopen(request, timeout=10) as response:
        return response.read()


def refused(models: LoopbackModels, body: object, **options: Any) -> tuple[int, str]:
    with pytest.raises(urllib.error.HTTPError) as caught:
        post(models, body, **options)
    with caught.value as error:
        return error.code, json.loads(error.read())["error"]["message"]


# The fate of a request.


def test_a_constant_latency_is_that_of_every_prompt() -> None:
    service = ModelService(latency_s=0.2)
    assert {decide(service, "m", f"prompt {number}").latency_s for number in range(50)} == {0.2}


def test_latencies_of_a_log_normal_follow_from_seed_and_prompt() -> None:
    service = ModelService(latency_s=0.1, sigma=0.5, seed=3)
    drawn = [decide(service, "m", f"prompt {number}").latency_s for number in range(4000)]
    assert drawn == [decide(service, "m", f"prompt {number}").latency_s for number in range(4000)]
    assert statistics.median(drawn) == pytest.approx(0.1, rel=0.05)
    logs = statistics.quantiles(drawn, n=100)
    assert logs[83] / logs[49] == pytest.approx(2.718 ** (0.5 * 0.994), rel=0.1)  # one standard deviation
    assert decide(ModelService(latency_s=0.1, sigma=0.5, seed=4), "m", "prompt 0").latency_s != drawn[0]


def test_a_share_of_the_prompts_fails_and_always_the_same_ones() -> None:
    service = ModelService(failures=((429, 0.2), (500, 0.1)))
    fates = [decide(service, "m", f"prompt {number}").status for number in range(3000)]
    assert fates == [decide(service, "m", f"prompt {number}").status for number in range(3000)]
    assert fates.count(429) / 3000 == pytest.approx(0.2, abs=0.04)
    assert fates.count(500) / 3000 == pytest.approx(0.1, abs=0.03)


def test_a_model_and_an_outage_can_say_what_happens() -> None:
    service = ModelService()
    assert decide(service, "fails-429", "x").status == 429
    assert decide(service, "hangs", "x").ending == "hang"
    assert decide(service, "hangs-up", "x").ending == "hang_up"
    assert decide(service, "m", "x", Outage.RATE_LIMIT).status == 429
    assert decide(service, "fails-429", "x", Outage.HANG_UP).ending == "hang_up"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"latency_s": -1}, "latency_s -1 of a model service: from 0 to 60 s"),
        ({"sigma": 6}, "sigma 6"),
        ({"failures": ((418, 0.1),)}, "status 418"),
        ({"failures": ((429, 2),)}, "the share 2 of status 429"),
        ({"failures": ((429, 0.6), (500, 0.6))}, "more than all requests"),
    ],
)
def test_an_impossible_service_is_refused(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        ModelService(**fields)


# The answer.


def test_the_answer_has_the_fields_and_types_that_the_prompt_asks_for() -> None:
    told = answer("m", chat(CHAT))
    parts = [part.strip() for part in told.split("[[ ## ")][1:]
    assert [part.split(" ## ]]")[0] for part in parts] == ["reasoning", "answer", "kind", "tags", "completed"]
    values = [part.partition("\n")[2].strip() for part in parts]
    assert values[0].startswith("reasoning ")
    assert int(values[1]) >= 0
    assert values[2] in ("a", "b")
    assert len(json.loads(values[3])) == 2
    asked_json = json.loads(answer("m", chat(JSON_PROMPT)))
    assert {name: type(value) for name, value in asked_json.items()} == {"sure": bool, "share": float, "extra": dict}


def test_the_answer_follows_from_model_and_prompt() -> None:
    assert answer("m", chat(CHAT)) == answer("m", chat(CHAT))
    assert len({answer("m", chat(CHAT)), answer("n", chat(CHAT)), answer("m", chat("Now: " + CHAT))}) == 3
    assert answer("m", chat("hello")).startswith("m says ")
    assert wanted("hello") == []
    assert answer("m", [{"content": [{"type": "text", "text": CHAT}]}]).startswith("[[ ## reasoning ## ]]")


def test_an_agent_uses_each_of_its_tools_once_and_then_finishes() -> None:
    tools = (
        "the tool must be one of:\n        \n        (1) look, whose description is <desc>Looks</desc>. It takes "
        "arguments {'place': {'type': 'string'}, 'times': {'type': 'integer'}}.\n        (2) finish, whose description "
        "is <desc>Ends</desc>. It takes arguments {}.\n"
    )
    asks = (
        "\n\nRespond with the corresponding output fields, starting with the field `[[ ## next_thought ## ]]`, then "
        "`[[ ## next_tool_name ## ]]` (must be formatted as a valid Python Literal['look', 'finish']), then "
        "`[[ ## next_tool_args ## ]]` (must be formatted as a valid Python dict[str, Any]), and then ending with the "
        "marker for `[[ ## completed ## ]]`."
    )
    first = answer("m", chat(tools + asks))
    assert "[[ ## next_tool_name ## ]]\nlook\n" in first
    assert '{"place": "loopback", "times": 1}' in first
    assert "\nfinish\n" in answer("m", chat(tools + "[[ ## tool_name_0 ## ]]\nlook\n" + asks))


# Over HTTP.


def test_a_completion_has_the_form_of_openai(models: LoopbackModels) -> None:
    told = json.loads(post(models, {"model": "m", "messages": chat(CHAT)}))
    assert told["object"] == "chat.completion"
    assert told["choices"][0]["message"] == {"role": "assistant", "content": answer("m", chat(CHAT))}
    assert told["usage"]["total_tokens"] > 0


def test_a_stream_gives_the_same_answer_in_parts(models: LoopbackModels) -> None:
    text = post(models, {"model": "m", "messages": chat(CHAT), "stream": True}).decode()
    chunks = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    assert chunks[-1] == "[DONE]"
    parts = [json.loads(chunk)["choices"][0] for chunk in chunks[:-1]]
    assert "".join(part["delta"].get("content", "") for part in parts) == answer("m", chat(CHAT))
    assert parts[-1]["finish_reason"] == "stop"
    assert len(parts) > 3


def test_errors_have_their_status_and_say_why(models: LoopbackModels) -> None:
    assert refused(models, {"model": "fails-429", "messages": []})[0] == 429
    assert refused(models, b"{")[0] == 400
    assert refused(models, {"model": "m"})[0] == 400
    assert refused(models, {}, path="/nothing") == (404, "there is no /v1/nothing")
    status, why = refused(models, {"model": "m", "messages": []}, key="wrong-key")
    assert (status, why) == (401, "Incorrect API key provided: wrong-key")


def test_it_hangs_up_and_hangs_when_told_to(models: LoopbackModels) -> None:
    with pytest.raises(OSError):
        post(models, {"model": "hangs-up", "messages": []})
    request = b'{"model": "hangs", "messages": []}'
    with socket.create_connection(("127.0.0.1", models.port), timeout=10) as connection:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
        connection.sendall(f"{head}Content-Length: {len(request)}\r\n\r\n".encode() + request)
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(1)


def test_an_outage_holds_until_it_is_ended_and_is_counted(models: LoopbackModels) -> None:
    body = {"model": "m", "messages": chat("x")}
    before = models.stats()
    models.outage(Outage.SERVER_ERROR)
    assert refused(models, body)[0] == 500
    models.outage(None)
    assert post(models, body)
    after = models.stats()
    assert after["failed"] == before["failed"] + 1
    assert after["answered"] == before["answered"] + 1


def test_a_worker_is_told_the_address_and_a_key_by_its_environment(models: LoopbackModels) -> None:
    assert models.environment() == {BASE_VARIABLE: models.address, KEY_VARIABLE: KEY}


def test_the_server_ends_with_close_and_twice_is_once() -> None:
    models = LoopbackModels()
    process = psutil.Process(models.pid)
    assert process.is_running()
    models.close()
    models.close()
    assert not process.is_running()
    with pytest.raises(RunError, match="the model server cannot be told anything"):
        models.outage(None)


def test_a_server_that_does_not_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loopback, "COMMAND", ("false",))
    with pytest.raises(RunError, match="the model server"):
        LoopbackModels()

"""The answers of the loopback model, decided by the model's name and the prompt, in the form that the prompt requests.

Pure. It knows the two forms in which DSPy asks for fields, and that an agent must choose one of its tools.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from typing import Any, NamedTuple

_CHAT = "Respond with the corresponding output fields"
_JSON = "Respond with a JSON object"
_TYPE = r"(?: \(must be formatted as a valid Python (.+?)\)(?=, then |, and then |\.|$))?"
_CHAT_FIELD = re.compile(r"`\[\[ ## (\w+) ## \]\]`" + _TYPE)
_JSON_FIELD = re.compile(r"`(\w+)`" + _TYPE)
_TOOL = re.compile(r"^ *\(\d+\) (\w+)\b.*?It takes arguments (\{.*?\})\.?$", re.MULTILINE | re.DOTALL)
_USED_TOOL = re.compile(r"\[\[ ## tool_name_\d+ ## \]\]\n(\w+)")
SAMPLES: dict[str, Any] = {
    "string": "loopback",
    "integer": 1,
    "number": 1.0,
    "boolean": True,
    "array": [],
    "object": {},
}


class Wanted(NamedTuple):
    """A field that the prompt asks for; `type` is empty for text."""

    name: str
    type: str


def answer(model: str, messages: list[dict[str, Any]]) -> str:
    """Return the reply to a chat, in the form that its last message asks for; plain words if it asks for no form."""
    prompt = as_prompt(messages)
    last = as_prompt(messages[-1:])
    fields = wanted(last)
    if not fields:
        return f"{model} says {_words(model, prompt, 'text')}"
    values = _values(fields, model, prompt)
    if _CHAT not in last:
        return json.dumps(values)
    told = [f"[[ ## {name} ## ]]\n{_as_text(value)}\n" for name, value in values.items()]
    return "\n".join([*told, "[[ ## completed ## ]]\n"])


def as_prompt(messages: list[dict[str, Any]]) -> str:
    """Return the text of all messages."""
    return "\n".join(_text(message.get("content")) for message in messages)


def wanted(last: str) -> list[Wanted]:
    """Return the fields that a prompt's last message asks for."""
    for mark, pattern in ((_CHAT, _CHAT_FIELD), (_JSON, _JSON_FIELD)):
        at = last.rfind(mark)
        if at >= 0:
            found = [Wanted(match[1], match[2] or "") for match in pattern.finditer(last[at:])]
            return [field for field in found if field.name != "completed"]
    return []


def _values(fields: list[Wanted], model: str, prompt: str) -> dict[str, Any]:
    values = {field.name: _value(field, model, prompt) for field in fields}
    if {"next_tool_name", "next_tool_args"} <= values.keys():
        tools = {name: _arguments(described) for name, described in _TOOL.findall(prompt)}
        used = _USED_TOOL.findall(prompt)
        values["next_tool_name"] = next((name for name in tools if name not in (*used, "finish")), "finish")
        values["next_tool_args"] = tools.get(values["next_tool_name"], {})
    return values


def _arguments(described: str) -> dict[str, Any]:
    try:
        schema = ast.literal_eval(described)
    except (SyntaxError, ValueError):
        return {}
    return {
        name: SAMPLES.get(str(one.get("type")), "loopback") for name, one in schema.items() if isinstance(one, dict)
    }


def _value(field: Wanted, model: str, prompt: str) -> Any:  # noqa: ANN401 - any JSON
    number = int.from_bytes(_digest(model, prompt, field.name)[:4], "big")
    kind = field.type
    if kind.startswith("Literal["):
        choices = ast.literal_eval(kind.removeprefix("Literal"))
        return choices[number % len(choices)]
    match kind.split("[")[0].strip():
        case "int":
            return number % 1000
        case "float":
            return number % 1000 / 10
        case "bool":
            return number % 2 == 0
        case "list" | "List":
            return [_value(Wanted(f"{field.name}{place}", _inner(kind)), model, prompt) for place in range(2)]
        case "dict" | "Dict":
            return {}
        case _:
            return _words(model, prompt, field.name)


def _inner(kind: str) -> str:
    inner = kind.partition("[")[2].rpartition("]")[0]
    return "" if inner == "str" else inner


def _words(model: str, prompt: str, name: str) -> str:
    return f"{name} {_digest(model, prompt, name).hex()[:12]}"


def _digest(*parts: str) -> bytes:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).digest()


def _as_text(value: Any) -> str:  # noqa: ANN401
    return value if isinstance(value, str) else json.dumps(value)


def _text(content: object) -> str:
    # A message's content is a string, or a list of parts of which some are text.
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""

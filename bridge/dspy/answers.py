"""The answers of program commands, in the shapes in which workers write them, as the fields of the adapter's records.

Pure. The shipped worker writes the fields as the records have them. The original's worker (DSPex) writes objects where
the records have names, numbers where they have times, and tells a refusal as a success with an `error`. What a worker
adds is ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

REFUSING = frozenset({"error", "failed", "failure", "refused", "rejected"})
"""The values of `status` by which a worker says that it has refused the command."""
REASONS = ("error", "message", "reason", "detail")
ID_KEYS = ("program_id", "id", "name")
SIDES = ("inputs", "outputs")
CALLER_KEEPS = frozenset({"signature_def", "signature_class", "field_mapping"})
"""Fields of the answer to create_program by which a worker gives the program to its caller, who sends it back."""

Fields = dict[str, Any]


def refusal(answer: object) -> str:
    """Return the worker's reason if this answer says that it has refused the command; empty if it does not."""
    if not isinstance(answer, dict):
        return ""
    told = answer.get("error")
    status = answer.get("status")
    refused = isinstance(status, str) and status.lower() in REFUSING
    if told in (None, False, "") and not refused:
        return ""
    for name in REASONS:
        if answer.get(name) not in (None, False, True, ""):
            return _text(answer[name])
    return _text(answer)


def gives_program(answer: object) -> bool:
    """Return whether the worker leaves the program to its caller, who must send this answer back with each execution.

    Such a worker keeps no program of a named session.
    """
    return isinstance(answer, dict) and bool(CALLER_KEEPS & answer.keys())


def read(command: str, answer: object) -> object:
    """Return the answer with the fields of the command's record. An unknown shape is returned unchanged."""
    reader = _READERS.get(command)
    return reader(dict(answer)) if reader is not None and isinstance(answer, dict) else answer


def _model(answer: Fields) -> Fields:
    return {name: value for name, value in answer.items() if value is not None}


def _program(answer: Fields) -> Fields:
    told = answer.get("signature", answer.get("signature_def"))
    if isinstance(told, Mapping):
        answer["signature"] = {side: _names(told.get(side)) for side in SIDES}
        if not answer.get("fields") and any(_detailed(told.get(side)) for side in SIDES):
            answer["fields"] = dict(told)
    for name in ("created_at", "last_executed"):
        answer[name] = _moment(answer.get(name))
    return _with_id({name: value for name, value in answer.items() if value is not None})


def _with_id(answer: Fields) -> Fields:
    found = next((answer[key] for key in ID_KEYS if answer.get(key) is not None), None)
    return answer if found is None else {**answer, "program_id": _id(found)}


def _programs(answer: Fields) -> Fields:
    told = answer.get("programs")
    if isinstance(told, Mapping | list | tuple):
        names = _names(told)
        if isinstance(names, list):
            names = sorted(names, key=str)
        answer["programs"] = names
        answer.setdefault("total_count", len(names))
    return answer


def _statistics(answer: Fields) -> Fields:
    memory = answer.get("memory_usage")
    if isinstance(memory, Mapping):
        memory = memory.get("rss")
    answer["memory_usage"] = int(memory) if isinstance(memory, float) else memory
    return answer


def _names(told: object) -> Any:  # noqa: ANN401 - what cannot be read is left for the record's type to refuse
    if isinstance(told, Mapping):
        return [str(name) for name in told]
    if not isinstance(told, list | tuple):
        return told
    return [_name(item) for item in told]


def _name(item: object) -> Any:  # noqa: ANN401
    if isinstance(item, Mapping):
        item = next((item[key] for key in ID_KEYS if item.get(key) is not None), item)
    return _id(item)


def _id(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _detailed(side: object) -> bool:
    return isinstance(side, list | tuple) and any(isinstance(item, Mapping) for item in side)


def _moment(value: object) -> object:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return datetime.fromtimestamp(value, UTC).isoformat()
        except (OverflowError, OSError, ValueError):
            return str(value)
    return value


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        for name in REASONS:
            if isinstance(value.get(name), str) and value[name]:
                return str(value[name])
    return msgspec.json.encode(value, enc_hook=repr).decode()


_READERS: dict[str, Callable[[Fields], Fields]] = {
    "configure_lm": _model,
    "create_program": _program,
    "execute_program": _with_id,
    "list_programs": _programs,
    "delete_program": _with_id,
    "get_program_info": _program,
    "get_stats": _statistics,
}

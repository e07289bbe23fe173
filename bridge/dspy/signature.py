"""A program's signature: inputs and outputs with a name, a type and a description, read from JSON or a string.

Pure and independent of how a program is run; the program's engine interprets the types.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from poolproof.bridge.worker.handlers.context import HandlerError

TYPE_ALIASES = {
    "string": "str",
    "text": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "array": "list",
    "object": "dict",
    "any": "Any",
}
"""Type names of JSON and of the legacy bridge, mapped to Python's names."""
FIELD_KEYS = frozenset({"name", "type", "description", "desc"})
SIDES = ("inputs", "outputs")


class Field(NamedTuple):
    """One input or output. `type` is in Python's notation, such as `list[str]`."""

    name: str
    type: str = "str"
    description: str = ""


class Signature(NamedTuple):
    """The fields of a program, and its instructions."""

    inputs: tuple[Field, ...]
    outputs: tuple[Field, ...]
    instructions: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the signature as JSON values, which `read_signature` can read."""
        return {
            "inputs": [field._asdict() for field in self.inputs],
            "outputs": [field._asdict() for field in self.outputs],
            "instructions": self.instructions,
        }


def read_signature(value: object) -> Signature:
    """Parse an argument as a signature. Raises HandlerError that says what is wrong.

    The argument is an object {inputs, outputs, instructions}, whose fields are names or {name, type, description}; or a
    string such as `question, notes: list[str] -> answer: float`.
    """
    if isinstance(value, str):
        return _from_string(value)
    if not isinstance(value, dict):
        raise HandlerError(f"argument 'signature': inputs and outputs are needed, not {value!r}")
    instructions = value.get("instructions") or value.get("description") or ""
    if not isinstance(instructions, str):
        raise HandlerError(f"argument 'signature': instructions must be a string, not {instructions!r}")
    inputs, outputs = (_from_list(value, side) for side in SIDES)
    return _checked(Signature(inputs, outputs, instructions))


def _from_list(value: dict[str, Any], side: str) -> tuple[Field, ...]:
    # The legacy form is a list of {"name": …}; plain names are also accepted.
    found = value.get(side)
    if not isinstance(found, list) or not found:
        raise HandlerError(f"argument 'signature': {side} must be a list of fields, not {found!r}")
    return tuple(_field(one, side) for one in found)


def _field(one: object, side: str) -> Field:
    described = one if isinstance(one, dict) else {"name": one}
    unknown = sorted(map(str, described.keys() - FIELD_KEYS))
    name = described.get("name")
    if not isinstance(name, str) or not name:
        raise HandlerError(f"argument 'signature': a field of {side} has the name {name!r}")
    if unknown:
        raise HandlerError(
            f"argument 'signature': the field {name!r} has {unknown[0]!r}; a field may have name, type and "
            "description only"
        )
    kind = described.get("type") or "str"
    description = described.get("description") or described.get("desc") or ""
    if not isinstance(kind, str) or not isinstance(description, str):
        raise HandlerError(f"argument 'signature': type and description of the field {name!r} must be strings")
    return Field(name, TYPE_ALIASES.get(kind, kind), description)


def _from_string(value: str) -> Signature:
    sides = value.split("->")
    if len(sides) != 2:
        raise HandlerError(f"argument 'signature': one '->' between inputs and outputs is needed, not {value!r}")
    parts = [[part.strip() for part in _split(side)] for side in sides]
    for side, names in zip(SIDES, parts, strict=True):
        if not all(names):
            raise HandlerError(f"argument 'signature': {side} must be fields between commas, not {value!r}")
    read = [tuple(_typed(part, side) for part in names) for side, names in zip(SIDES, parts, strict=True)]
    return _checked(Signature(read[0], read[1]))


def _typed(part: str, side: str) -> Field:
    name, mark, kind = (word.strip() for word in part.partition(":"))
    return _field({"name": name, "type": kind} if mark else name, side)


def _split(side: str) -> list[str]:
    # Splits at the commas outside brackets and quotes.
    parts, depth, quote = [""], 0, ""
    for letter in side:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        depth += (letter in "[(") - (letter in "])") if not quote else 0
        if letter == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _checked(signature: Signature) -> Signature:
    seen: set[str] = set()
    for field in (*signature.inputs, *signature.outputs):
        if field.name in seen:
            raise HandlerError(f"argument 'signature': the field {field.name!r} is listed twice")
        seen.add(field.name)
    return signature

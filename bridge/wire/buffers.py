"""Carries bytes beside the JSON of a message: in the same frame, unchanged, and without a copy where possible.

Pure. A payload with buffers begins with a zero byte, with which no JSON begins:

    4 bytes    0
    4 bytes    the size of the JSON, big-endian
    JSON       its field `buffers` lists the place, the type and the size of each buffer, in their order
    buffers    each after zero bytes up to the next multiple of ALIGNMENT, counted from the payload's first byte
    1 byte     END

Buffers of SMALLEST_SHARED_BYTES and more in all may lie in shared memory instead (`bridge.wire.segment`):
then the field `shared` is true, and the payload ends after its JSON.

The place of a buffer is a path of keys and indexes below the message's `args` or `result`, which has null there.

Nothing changes on the way: a value that would arrive as another is refused. So dictionaries have string keys, and there
are no tuples, no sets, and no objects that JSON does not have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import isfinite
from struct import Struct
from typing import Any, Literal, TypeAlias

import msgspec

from poolproof.bridge.errors import ProtocolError

ALIGNMENT = 16
PREFIX_BYTES = 8
END = b"\x01"
"""The last byte of a payload with buffers: a payload never ends with a zero byte."""
SCALARS = frozenset({str, int, float, bool, type(None)})
"""Types that JSON carries unchanged."""
NO_FLOATS = SCALARS - {float}
BYTES_LIKE = (bytes, bytearray, memoryview)
TEXT = frozenset({str})
DEEPEST = 1_100
"""A value that is nested more deeply than this counts as one that contains itself; the encoder itself allows less."""
Path: TypeAlias = tuple[str | int, ...]
Part: TypeAlias = bytes | bytearray | memoryview
Found: TypeAlias = list[tuple[Path, Part]]
SMALLEST_SHARED_BYTES = 64 * 1024
"""From this size on, buffers go through shared memory if there is some."""
_size_at = Struct(">I").unpack_from
_put_size = Struct(">I").pack_into


class Buffer(msgspec.Struct, frozen=True):
    """Where a buffer belongs, the type of the value there, and its size in bytes."""

    at: list[str | int]
    type: Literal["bytes", "bytearray", "memoryview"]
    size: int

    def describe(self, name: str) -> str:
        """Say where the buffer is, and its type; `name` is the name of the value that has it."""
        return f"{_place(name, tuple(self.at))} is of the type {self.type}"


class NotJsonError(TypeError):
    """A value that no message can carry unchanged. The text says where it is and what it is."""


def detach(value: Any, name: str) -> tuple[Any, Found]:  # noqa: ANN401 - any JSON value
    """Return the value with None in place of each bytes-like part, and these parts with their paths.

    The value itself is left as it is. `name` is its name in errors. Raises NotJsonError, and RecursionError for a value
    that is nested too deeply.
    """
    if type(value) is dict and (flat := _detach_flat(value)):
        return flat
    found: Found = []
    left: list[tuple[Path, Any]] = [((), value)]
    while left:
        path, one = left.pop()
        kind = type(one)
        if kind in SCALARS:
            continue
        if issubclass(kind, dict):
            if not TEXT.issuperset(map(type, one)):
                for key in one:
                    if not isinstance(key, str):
                        raise NotJsonError(
                            f"{_place(name, path)} has the key {key!r:.50}; JSON has only strings as keys"
                        )
            items: Iterable[tuple[str | int, Any]] = one.items()
        elif issubclass(kind, list):
            items = enumerate(one)
        elif kind in BYTES_LIKE:
            if kind is memoryview and not _is_row(one):
                raise NotJsonError(
                    f"{_place(name, path)} is a memoryview that is no plain row of bytes; cast it to 'B'"
                )
            found.append((path, one))
            continue
        elif issubclass(kind, (str, int, float)):
            continue
        else:
            raise NotJsonError(f"{_place(name, path)} is of the type {kind.__name__}, which JSON does not have")
        if SCALARS.issuperset(map(type, one.values() if issubclass(kind, dict) else one)):
            continue
        if len(path) >= DEEPEST:
            raise RecursionError("maximum recursion depth exceeded: it is nested too deeply")
        left += [((*path, key), item) for key, item in items if type(item) not in SCALARS]
    return (_without(value, found) if found else value), found


def _detach_flat(values: dict[Any, Any]) -> tuple[dict[Any, Any], Found] | None:
    # `detach` for most messages: no containers but lists of bytes-like parts. Loops, as generators take twice as long.
    found: Found = []
    sent = values
    for key, value in values.items():
        kind = type(value)
        if type(key) is not str:
            return None
        if kind in SCALARS:
            continue
        if kind is bytes:
            found.append(((key,), value))
            sent = {**sent, key: None}
        elif kind is list:
            for index, one in enumerate(value):
                if type(one) not in BYTES_LIKE or (type(one) is memoryview and not _is_row(one)):
                    return None
                found.append(((key, index), one))
            sent = {**sent, key: [None] * len(value)}
        else:
            return None
    return sent, found


def _is_row(view: memoryview) -> bool:
    return view.ndim == 1 and view.format == "B" and view.c_contiguous


def _without(value: Any, found: Found) -> Any:  # noqa: ANN401
    # A copy with None in the place of each part. Only the containers on the way to a part are copied.
    root = [value]
    copied = {id(root)}
    for path, _ in found:
        node: Any = root
        place: str | int = 0
        for key in path:
            child = node[place]
            if id(child) not in copied:
                child = child.copy()
                copied.add(id(child))
                node[place] = child
            node, place = child, key
        node[place] = None
    return root[0]


def _place(name: str, path: Path) -> str:
    return name + "".join(f"[{key!r}]" for key in path)


def require_finite(value: object, name: str) -> None:
    """Raise NotJsonError if the value has a number that JSON does not have, for which an encoder writes null."""
    left = [value]
    while left:
        one = left.pop()
        items = one.values() if isinstance(one, dict) else one if isinstance(one, list) else (one,)
        for item in items:
            if type(item) in NO_FLOATS:
                continue
            if isinstance(item, float):
                if not isfinite(item):
                    raise NotJsonError(find_inexact(value, name))
            elif isinstance(item, (dict, list)):
                left.append(item)


def find_inexact(value: object, name: str) -> str:
    """Return where the value has a number or a text that JSON cannot carry, and what it is; empty if it has none."""
    left: list[tuple[Path, object]] = [((), value)]
    while left:
        path, one = left.pop()
        if isinstance(one, float) and not isfinite(one):
            return f"{_place(name, path)} is {one}, which is not a JSON number"
        if isinstance(one, str) and _has_surrogates(one):
            return f"{_place(name, path)} has a lone surrogate, which UTF-8 does not have: {one!r:.50}"
        if isinstance(one, dict):
            left += [(path, key) for key in one] + [((*path, key), item) for key, item in one.items()]
        elif isinstance(one, list):
            left += [((*path, index), item) for index, item in enumerate(one)]
    return ""


def _has_surrogates(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def describe(found: Found) -> tuple[list[Buffer], list[Part], int]:
    """Return the field `buffers` of a message with these parts, the parts, and their size in all."""
    buffers, parts, size = [], [], 0
    for path, part in found:
        buffers.append(Buffer(list(path), type(part).__name__, len(part)))  # type: ignore[arg-type]
        parts.append(part)
        size += len(part)
    return buffers, parts, size


def append(frame: bytearray, start: int, parts: Iterable[Part]) -> None:
    """Append the buffers and the prefix to a payload. It begins at `start` of `frame`: room for the prefix, then its
    JSON.
    """
    frame[start : start + PREFIX_BYTES] = bytes(PREFIX_BYTES)
    _put_size(frame, start + 4, len(frame) - start - PREFIX_BYTES)
    for part in parts:
        frame += bytes(-(len(frame) - start) % ALIGNMENT)
        frame += part
    frame += END


def has_buffers(payload: bytes | bytearray) -> bool:
    """Return whether a payload carries buffers."""
    return payload[:1] == b"\0"


def json_of(payload: bytes | bytearray) -> memoryview:
    """Return the JSON of a payload with buffers. Raises ProtocolError."""
    if len(payload) > PREFIX_BYTES and payload[-1:] == END:
        size = _size_at(payload, 4)[0]
        if size < len(payload) - PREFIX_BYTES:
            return memoryview(payload)[PREFIX_BYTES : PREFIX_BYTES + size]
    raise ProtocolError(f"a payload of {len(payload)} bytes is no JSON, and no JSON with buffers")


def read_parts(buffers: Sequence[Buffer], payload: bytes | bytearray, json_bytes: int) -> list[Any]:
    """Return the buffers of a payload, behind its JSON. One of the type memoryview is a writable view of the payload.

    Raises ProtocolError.
    """
    view = memoryview(payload)
    end = PREFIX_BYTES + json_bytes
    found = []
    for buffer in buffers:
        at = end + -end % ALIGNMENT
        end = at + buffer.size
        if buffer.size < 0 or end >= len(payload):
            raise ProtocolError(f"a buffer of {buffer.size} bytes at {at} is beyond its payload of {len(payload)}")
        if buffer.type == "memoryview" and view.readonly:
            view = memoryview(bytearray(payload))
        found.append(AS_TYPE[buffer.type](view[at:end]))
    if end + len(END) != len(payload):
        raise ProtocolError(f"{len(payload) - end - len(END)} bytes of a payload belong to no buffer")
    return found


def attach(root: Any, buffers: Sequence[Buffer], parts: Sequence[Any]) -> Any:  # noqa: ANN401
    """Put each part at its buffer's place below `root`, and return that. Raises ProtocolError."""
    for buffer, part in zip(buffers, parts, strict=True):
        root = _put(root, buffer.at, part)
    return root


AS_TYPE: dict[str, Callable[[Any], Any]] = {"bytes": bytes, "bytearray": bytearray, "memoryview": memoryview}
"""How a buffer becomes a value of its type. A memoryview is no copy."""


def _put(root: Any, path: list[str | int], value: Any) -> Any:  # noqa: ANN401
    if not path:
        return value
    *parents, last = path
    try:
        place = root
        for key in parents:
            place = place[key]
        if place[last] is not None:
            raise ProtocolError(f"a buffer's place {path!r:.100} is taken")
        place[last] = value
    except (KeyError, IndexError, TypeError) as error:
        raise ProtocolError(f"a buffer has no place at {path!r:.100}") from error
    return root

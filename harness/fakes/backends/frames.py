"""The exact rules for requests on the wire: the scripted worker accepts nothing else.

Pure. The shipped worker is lenient, since it serves other pools too; here every deviation is an error.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from poolproof.bridge.wire.messages import INIT_ID, Request

KEYS = frozenset({"id", "command", "args", "timestamp"})
OPTIONAL_KEYS = frozenset({"stream"})
INIT_COMMAND = "ping"


class FrameFault(Exception):
    """A frame that violates the rules of the wire."""


class FrameCheck:
    """Checks the frames to one worker, in their order.

    Rules
    1. A payload is one JSON object in UTF-8, without duplicate keys, without NaN, with the four keys and no other but
       `stream`, which is true.
    2. The first frame is the init ping with id 0; no later frame has that id or an id of an earlier frame.
    3. `timestamp` is ISO 8601 with a zone; `command` is not empty; `args` is an object, whose `session_id` is a string.
    """

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def check(self, payload: bytes) -> Request:
        """Check a frame and return its request. Raises FrameFault, which names the violated rule."""
        message = _decode(payload)
        missing, strange = KEYS - message.keys(), message.keys() - KEYS - OPTIONAL_KEYS
        if missing or strange:
            what = f"lacks {sorted(missing)}" if missing else f"has {sorted(strange)}"
            raise FrameFault(f"a request {what}")
        number, command, args = message["id"], message["command"], message["args"]
        if type(number) is not int or number < 0:
            raise FrameFault(f"the id {number!r} is no whole number from 0 on")
        if not isinstance(command, str) or not command:
            raise FrameFault(f"request {number} has the command {command!r}")
        if not isinstance(args, dict):
            raise FrameFault(f"request {number} has args that are no object: {args!r:.100}")
        if not isinstance(args.get("session_id", ""), str):
            raise FrameFault(f"request {number} has the session_id {args['session_id']!r}")
        if message.get("stream", True) is not True:
            raise FrameFault(f"request {number} has stream {message['stream']!r}; it is true or not there")
        _check_time(number, message["timestamp"])
        self._check_order(number, command)
        return Request(number, command, args, message["timestamp"], **_stream(message))

    def _check_order(self, number: int, command: str) -> None:
        if not self._seen and (number, command) != (INIT_ID, INIT_COMMAND):
            raise FrameFault(f"the first frame is request {number} ({command!r}) and not the init ping")
        if number in self._seen:
            raise FrameFault(f"request {number} is there twice")
        self._seen.add(number)


def _stream(message: dict[str, Any]) -> dict[str, Any]:
    return {"stream": True} if "stream" in message else {}


def _decode(payload: bytes) -> dict[str, Any]:
    try:
        found = json.loads(payload.decode(), object_pairs_hook=_once, parse_constant=_no_constant)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise FrameFault(f"a payload of {len(payload)} bytes is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise FrameFault(f"a payload is no object: {found!r:.100}")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise FrameFault(f"an object has a key twice: {[key for key, _ in pairs]!r:.200}")
    return found


def _no_constant(name: str) -> None:
    raise FrameFault(f"{name} is no JSON")


def _check_time(number: int, told: object) -> None:
    try:
        moment = datetime.fromisoformat(told) if isinstance(told, str) else None
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise FrameFault(f"request {number} has the timestamp {told!r}; ISO 8601 with a zone is needed")

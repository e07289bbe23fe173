"""Equivalent pools: they differ from the shipped pools and are as good, so any accusation is a false alarm."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

import msgspec

from poolproof.bridge.errors import ProtocolError
from poolproof.bridge.processes.channel import Channel
from poolproof.bridge.wire import messages
from poolproof.bridge.wire.buffers import has_buffers
from poolproof.bridge.wire.messages import Response
from poolproof.harness.mutation.mutant import BOTH, V1, V2, Registry
from poolproof.harness.mutation.planting import replace, replace_everywhere
from poolproof.pool_v1.manager import Manager
from poolproof.pool_v2.core.coordinator import Coordinator

SLOWER_BY_S = 0.002
REGISTRY = Registry()
SCENARIOS = (
    "any_json",
    "broken_stream",
    "close_under_load",
    "command_errors",
    "dirty_worker",
    "fair_queue",
    "few_calls",
    "racing_timeouts",
    "session_handover",
    "session_state",
    "two_timeouts",
    "worker_crash",
)
"""Scenarios in which a small difference would show: in order, time, values or sessions."""


@REGISTRY.bug(*BOTH, breaks=(), scenarios=SCENARIOS)
def a_little_slower() -> None:
    """Each exchange takes 2 ms longer."""

    def slow(write_some: Any) -> Any:
        def wait_first(self: Channel, data: memoryview | bytearray) -> Any:
            time.sleep(SLOWER_BY_S)
            return write_some(self, data)

        return wait_first

    replace(Channel, "write_some", slow)


@REGISTRY.bug(V2, breaks=(), scenarios=SCENARIOS)
def hot_first() -> None:
    """Of the idle workers, the pool takes the one that served last."""

    def heated(init: Any) -> Any:
        def warm(self: Coordinator, *args: Any, **rest: Any) -> None:
            init(self, *args, **rest)
            self._hot = not self._hot

        return warm

    replace(Coordinator, "__init__", heated)


@REGISTRY.bug(V1, breaks=(), scenarios=SCENARIOS)
def backwards_in_turn() -> None:
    """The manager takes its workers in the opposite order."""

    def backwards(pick: Any) -> Any:
        def turn(self: Manager, session: Any) -> Any:
            self._workers.rotate(2)
            return pick(self, session)

        return turn

    replace(Manager, "_pick", backwards)


@REGISTRY.bug(*BOTH, breaks=(), scenarios=SCENARIOS)
def stdlib_json() -> None:
    """Requests are encoded and responses decoded by the standard library's json."""

    class Encoder:
        def encode_into(self, request: Any, buffer: bytearray, offset: int) -> None:
            told = {
                name: value for name, value in msgspec.structs.asdict(request).items() if value is not msgspec.UNSET
            }
            fields = {**told, "timestamp": datetime.now(UTC).isoformat()}
            buffer[offset:] = json.dumps(fields, allow_nan=False).encode()

    def decode(payload: bytes | bytearray) -> Response:
        try:
            return msgspec.convert(json.loads(payload), Response)
        except (ValueError, RecursionError) as error:
            raise ProtocolError(f"not a response: {error}") from error

    def checked(original: Any) -> Any:
        def decode_checked(payload: bytes | bytearray, memory: Any = None) -> Response:
            if has_buffers(payload):
                return original(payload, memory)  # type: ignore[no-any-return] # it is not JSON alone
            response = decode(payload)
            if response.success and response.result is msgspec.UNSET:
                return original(payload, memory)  # type: ignore[no-any-return] # which says what is wrong
            return response

        return decode_checked

    replace(messages, "_encoder", lambda _: Encoder())
    replace_everywhere(messages.decode_response, checked)

"""Events: the words of the guarantees, and records that survive being stored."""

from __future__ import annotations

import msgspec
import pytest

from poolproof.bridge.events import Event, EventKind, ServiceInterval


def test_the_kinds_are_the_steps_that_the_guarantees_name() -> None:
    calls = ["enqueue", "offer", "accept", "withdraw", "send", "receive", "checkin", "done"]
    workers = ["spawn", "ready", "kill", "reap", "close"]
    assert [kind.value for kind in EventKind] == calls + workers


def test_an_event_survives_being_stored() -> None:
    event = Event(EventKind.KILL, 5, call=1, worker=2, pid=3, detail="deadline")
    assert msgspec.json.decode(msgspec.json.encode(event), type=Event) == event


def test_an_event_is_stored_as_a_row() -> None:
    assert msgspec.json.encode(Event(EventKind.CLOSE, 9)) == b'["close",9,null,null,null,"",null]'


@pytest.mark.parametrize("nonce", [None, 5, "n-1"])
def test_a_service_interval_survives_being_stored(nonce: str | int | None) -> None:
    interval = ServiceInterval(1, 22, 3, "echo", nonce, 4, 5, True)
    assert msgspec.json.decode(msgspec.json.encode(interval), type=ServiceInterval) == interval


def test_an_event_cannot_be_changed_afterwards() -> None:
    event = Event(EventKind.SEND, 1)
    with pytest.raises(AttributeError):
        event.at_ns = 2  # type: ignore[misc]

"""Several observers as one."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from poolproof.bridge import Event
from poolproof.bridge.telemetry import fan_out


def test_each_observer_is_told_in_order(step: Callable[..., Event]) -> None:
    told: list[tuple[str, Event]] = []
    observer = fan_out(lambda event: told.append(("first", event)), lambda event: told.append(("second", event)))
    begun, done = step(0, "enqueue", 1), step(1, "done", 1, detail="result")
    observer(begun)
    observer(done)
    assert told == [("first", begun), ("second", begun), ("first", done), ("second", done)]


def test_nobody_may_be_told(step: Callable[..., Event]) -> None:
    assert fan_out()(step(0, "close")) is None


def test_one_that_raises_harms_no_other_and_is_logged(
    step: Callable[..., Event], caplog: pytest.LogCaptureFixture
) -> None:
    def broken(event: Event) -> None:
        raise RuntimeError("no disk")

    told: list[Event] = []
    event = step(0, "enqueue", 1)
    with caplog.at_level(logging.ERROR):
        fan_out(broken, told.append, broken)(event)
    assert told == [event]
    assert ["broken" in record.getMessage() for record in caplog.records] == [True, True]
    assert all(record.exc_info and "no disk" in str(record.exc_info[1]) for record in caplog.records)


def test_an_interrupt_comes_through_after_the_rest_were_told(step: Callable[..., Event]) -> None:
    def interrupted(event: Event) -> None:
        raise KeyboardInterrupt

    def exiting(event: Event) -> None:
        raise SystemExit

    told: list[Event] = []
    event = step(0, "done", 1, detail="result")
    with pytest.raises(KeyboardInterrupt):
        fan_out(interrupted, exiting, told.append)(event)
    assert told == [event]


def test_a_fan_may_feed_a_fan(step: Callable[..., Event]) -> None:
    told: list[Event] = []
    fan_out(fan_out(told.append, told.append), told.append)(step(0, "close"))
    assert told == [step(0, "close")] * 3

"""Service times and waits come from events, whichever thread tells them and however late."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import pytest

from poolproof.bridge import Event, EventKind
from poolproof.bridge.events import CORRELATION
from poolproof.harness.bench import watch as module
from poolproof.harness.bench.generator import make_clients, run_block
from poolproof.harness.bench.statistics.histogram import tally
from poolproof.harness.bench.watch import Watch
from poolproof.harness.model.workload import Step

MS = 1_000_000


def steps_of(call: int, *, correlation: int | None = None, at: int = 0) -> list[Event]:
    """The events of a call that waits 2 ms, and takes 3 ms on its worker."""
    return [
        Event(EventKind.ENQUEUE, at, call, correlation=correlation),
        Event(EventKind.ACCEPT, at + 2 * MS, call, 1, 5),
        Event(EventKind.SEND, at + 3 * MS, call, 1, 5),
        Event(EventKind.RECEIVE, at + 6 * MS, call, 1, 5),
        Event(EventKind.CHECKIN, at + 6 * MS, call, 1, 5),
        Event(EventKind.DONE, at + 7 * MS, call, detail="result"),
    ]


def test_events_of_another_thread_are_matched_by_the_callers_own_number() -> None:
    watch = Watch()
    told = [
        *steps_of(1, correlation=11, at=5 * MS),
        Event(EventKind.SPAWN, 0, None, 1, 5),
        *steps_of(2, correlation=12),
    ]
    thread = threading.Thread(target=lambda: [watch.observe(event) for event in reversed(told)])
    thread.start()
    thread.join()
    assert watch.collect({11: 5 * MS, 12: 0}) == (tally([3 * MS] * 2), tally([2 * MS] * 2))
    assert watch.collect({}) == (Counter(), Counter())


def test_without_a_number_the_calling_thread_tells_the_call() -> None:
    watch = Watch()
    watch.begin(11)
    for event in steps_of(1):
        watch.observe(event)
    assert watch.collect({11: 0}) == (tally([3 * MS]), tally([2 * MS]))


def test_of_an_attempt_that_was_repeated_the_last_counts() -> None:
    watch = Watch()
    first, second = steps_of(1, correlation=11), steps_of(1, at=20 * MS)
    for event in (*first[:-1], *second[1:]):
        watch.observe(event)
    assert watch.collect({11: 0}) == (tally([3 * MS]), tally([22 * MS]))


def test_events_that_come_late_are_waited_for() -> None:
    watch = Watch()
    timer = threading.Timer(0.05, lambda: [watch.observe(event) for event in steps_of(1, correlation=11)])
    timer.start()
    service, _ = watch.collect({11: 0})
    timer.join()
    assert service == tally([3 * MS])


def test_events_that_never_come_end_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LATE_S", 0.01)
    assert Watch().collect({11: 0}) == (Counter(), Counter())


def test_each_timed_call_has_a_number_of_its_own_in_its_context() -> None:
    seen: list[int | None] = []

    def execute(command: str, args: dict[str, Any]) -> Any:
        seen.append(CORRELATION.get())
        return args["value"]

    steps = (Step(command="echo", args={"value": 1}),)
    observed = make_clients(execute, (steps, steps), Watch())
    run_block(observed, arm="v2", seconds=0.01)
    assert len(set(seen)) == len(seen) > 1
    assert set(seen) == {number for client in observed for number in client.begins}
    seen.clear()
    run_block(make_clients(execute, (steps,)), arm="v2", seconds=0.001, here=True)
    assert set(seen) == {None}
    assert CORRELATION.get() is None

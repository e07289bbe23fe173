"""The observer's own thread: steps come in their order, all before the end, whatever the observer does."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar, copy_context
from typing import Any

import pytest

from poolproof.bridge import Event, EventKind, PoolClosed
from poolproof.bridge.clock import now_ns
from poolproof.bridge.events import CORRELATION
from poolproof.pool_v2 import PoolV2
from poolproof.pool_v2.running import event_log
from poolproof.pool_v2.running.event_log import EventLog

HARD_LIMIT_S = 20.0
Observer = Callable[[Event], None]


@pytest.fixture
def observe(until: Any) -> Iterator[Callable[..., EventLog]]:
    """Make logs; at the end they are closed, and their threads have ended."""
    logs: list[EventLog] = []

    def make(observer: Observer) -> EventLog:
        logs.append(EventLog(observer, f"p{len(logs)}"))
        return logs[-1]

    yield make
    for log in logs:
        log.close()
        until(lambda log=log: not log._thread.is_alive(), "its thread has ended")


@pytest.fixture
def asleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log's own thread tells nothing until the end."""
    monkeypatch.setattr(event_log, "LOOK_EVERY_S", 3600.0)


def test_steps_are_told_from_one_thread_of_the_log_s_own_a_little_later(
    observe: Callable[..., EventLog], until: Any
) -> None:
    told: list[tuple[Event, threading.Thread]] = []
    log = observe(lambda event: told.append((event, threading.current_thread())))
    for number in range(3):
        log.note(EventKind.ENQUEUE, number)
        until(lambda number=number: len(told) == number + 1, "it is told without a flush or a close")

    assert [event.call for event, _ in told] == [0, 1, 2]
    assert {thread.name for _, thread in told} == {"p0-events"}


def test_a_call_s_beginning_is_told_in_its_caller_s_context(observe: Callable[..., EventLog]) -> None:
    whose: ContextVar[str] = ContextVar("whose", default="nobody's")
    told: list[tuple[int | None, str]] = []
    log = observe(lambda event: told.append((event.correlation, whose.get())))

    def begin() -> None:
        CORRELATION.set(41)
        whose.set("mine")
        log.enqueued(1)

    copy_context().run(begin)
    log.enqueued(2, 7)
    log.flush()
    assert told == [(41, "mine"), (None, "nobody's")]


def test_a_step_has_its_own_time_and_all_that_was_said_of_it(observe: Callable[..., EventLog]) -> None:
    told: list[Event] = []
    log = observe(told.append)
    before = now_ns()
    log.note(EventKind.SEND, 1, 2, 3, "detail")
    after = now_ns()
    log.append((EventKind.ACCEPT, 17, 5))
    log.flush()

    first, second = told
    assert before <= first.at_ns <= after
    assert (first.kind, first.call, first.worker, first.pid) == (EventKind.SEND, 1, 2, 3)
    assert (first.detail, first.correlation) == ("detail", None)
    assert (second.kind, second.call, second.worker, second.at_ns) == (EventKind.ACCEPT, 5, None, 17)


@pytest.mark.usefixtures("asleep")
def test_a_flush_tells_in_the_caller_s_thread_what_was_noted_before(observe: Callable[..., EventLog]) -> None:
    told: list[tuple[int | None, int]] = []
    log = observe(lambda event: told.append((event.call, threading.get_ident())))
    for number in range(100):
        log.note(EventKind.ENQUEUE, number)
    assert told == []
    log.flush()

    assert told == [(number, threading.get_ident()) for number in range(100)]


@pytest.mark.usefixtures("asleep")
def test_a_flush_waits_for_what_another_thread_is_just_telling(observe: Callable[..., EventLog], client: Any) -> None:
    begun, go_on = threading.Event(), threading.Event()
    told: list[int | None] = []

    def slowly(event: Event) -> None:
        begun.set()
        assert go_on.wait(HARD_LIMIT_S)
        told.append(event.call)

    log = observe(slowly)
    log.note(EventKind.ENQUEUE, 1)
    first = client(log.flush)
    assert begun.wait(HARD_LIMIT_S)

    def flush() -> list[int | None]:
        log.flush()
        return list(told)

    second = client(flush)
    log.note(EventKind.ENQUEUE, 2)
    assert second.thread.is_alive()
    go_on.set()

    first.result()
    assert second.result()[0] == 1
    log.flush()
    assert told == [1, 2]


@pytest.mark.usefixtures("asleep")
def test_steps_of_many_threads_are_each_told_once_and_each_thread_s_in_its_order(
    observe: Callable[..., EventLog], client: Any
) -> None:
    told: list[Event] = []
    log = observe(told.append)

    def note(worker: int) -> None:
        for number in range(500):
            log.note(EventKind.ENQUEUE, number, worker)
            if number % 50 == 0:
                log.flush()

    for each in [client(note, worker) for worker in range(4)]:
        each.result()
    log.close()
    for worker in range(4):
        assert [event.call for event in told if event.worker == worker] == list(range(500))


@pytest.mark.usefixtures("asleep")
def test_a_close_tells_all_and_may_come_twice(observe: Callable[..., EventLog]) -> None:
    told: list[int | None] = []
    log = observe(lambda event: told.append(event.call))
    for number in range(1000):
        log.note(EventKind.ENQUEUE, number)
    log.close()
    log.close()

    assert told == list(range(1000))


@pytest.mark.usefixtures("asleep")
def test_what_the_observer_itself_makes_the_pool_note_is_told_too(observe: Callable[..., EventLog]) -> None:
    told: list[int | None] = []

    def observer(event: Event) -> None:
        told.append(event.call)
        if event.call is not None and event.call < 3:
            log.note(EventKind.ENQUEUE, event.call + 1)

    log = observe(observer)
    log.note(EventKind.ENQUEUE, 1)
    log.close()

    assert told == [1, 2, 3]


@pytest.mark.usefixtures("asleep")
def test_an_observer_that_raises_misses_nothing_and_its_fault_is_logged(
    observe: Callable[..., EventLog], caplog: pytest.LogCaptureFixture
) -> None:
    told: list[int | None] = []

    errors = [LookupError("mine"), SystemExit(1), KeyboardInterrupt()]

    def observer(event: Event) -> None:
        told.append(event.call)
        raise errors[len(told) - 1]

    log = observe(observer)
    for number in range(len(errors)):
        log.note(EventKind.ENQUEUE, number)
    log.close()

    assert told == [0, 1, 2]
    assert [record.exc_info and record.exc_info[1] for record in caplog.records] == errors
    assert "'p0': its observer failed at" in caplog.text


def test_the_log_goes_on_after_its_observer_raised(observe: Callable[..., EventLog], until: Any) -> None:
    told: list[int | None] = []

    def observer(event: Event) -> None:
        told.append(event.call)
        raise LookupError("mine")

    log = observe(observer)
    for number in (1, 2):
        log.note(EventKind.ENQUEUE, number)
        until(lambda number=number: number in told, "its thread lives")


def test_a_close_in_the_observer_s_own_thread_does_not_wait_for_itself(
    observe: Callable[..., EventLog], until: Any
) -> None:
    told: list[int | None] = []

    def observer(event: Event) -> None:
        told.append(event.call)
        if event.call == 1:
            log.close()
            log.note(EventKind.DONE, 2)

    log = observe(observer)
    log.note(EventKind.ENQUEUE, 1)
    until(lambda: not log._thread.is_alive(), "it ends")

    assert told == [1, 2], "what comes meanwhile is told"


def test_a_close_waits_no_longer_than_a_limit_for_an_observer_that_is_stuck(
    observe: Callable[..., EventLog], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def stuck(_: Event) -> None:
        begun.set()
        assert go_on.wait(HARD_LIMIT_S)

    monkeypatch.setattr(event_log, "END_TIMEOUT_S", 0.05)
    log = observe(stuck)
    log.note(EventKind.ENQUEUE, 1)
    assert begun.wait(HARD_LIMIT_S)
    log.close()
    assert log._thread.is_alive()
    go_on.set()


def test_an_observer_that_is_too_slow_loses_the_oldest_steps_and_is_told_so_in_the_log(
    observe: Callable[..., EventLog], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, asleep: None
) -> None:
    monkeypatch.setattr(event_log, "MOST_UNTOLD", 10)
    told: list[int | None] = []
    log = observe(lambda event: told.append(event.call))
    for number in range(25):
        log.note(EventKind.ENQUEUE, number)
    log.flush()

    assert told == list(range(15, 25))
    assert "too slow" in caplog.text


def in_forked_child(work: Callable[[], bool]) -> bool:
    """Fork; whether the child's work came to an end, and true."""
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(0 if work() else 1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_s_copy_can_be_noted_to_and_closed_and_tells_nobody(
    observe: Callable[..., EventLog], asleep: None
) -> None:
    told: list[int | None] = []
    log = observe(lambda event: told.append(event.call))
    log.note(EventKind.ENQUEUE, 1)

    def child() -> bool:
        log.note(EventKind.ENQUEUE, 2)
        log.close()
        return told == []

    assert in_forked_child(child)
    log.close()
    assert told == [1]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_that_is_forked_while_something_is_told_does_not_wait_for_ever(
    observe: Callable[..., EventLog], asleep: None, client: Any
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slowly(_: Event) -> None:
        begun.set()
        assert go_on.wait(HARD_LIMIT_S)

    log = observe(slowly)
    log.note(EventKind.ENQUEUE, 1)
    teller = client(log.flush)
    assert begun.wait(HARD_LIMIT_S)

    def child() -> bool:
        log.close()
        log.note(EventKind.ENQUEUE, 2)
        return True

    done = in_forked_child(child)
    go_on.set()
    teller.result()
    assert done


def test_a_call_on_a_closed_pool_is_told_too(make_pool: Callable[..., PoolV2]) -> None:
    told: list[Event] = []
    pool = make_pool(told.append)
    pool.close()
    with pytest.raises(PoolClosed):
        pool.execute("ping")
    assert [event.kind for event in told if event.call] == [EventKind.ENQUEUE, EventKind.DONE]

"""A pool behind a driver: calls, sessions and events, and what is told of a driver that breaks the protocol."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import psutil
import pytest

from poolproof.bridge import (
    CallTimeout,
    Capability,
    CheckoutTimeout,
    CommandError,
    ConfigError,
    Event,
    EventKind,
    InvalidRequest,
    PoolClosed,
    PoolConfig,
    PoolNameConflict,
)
from poolproof.harness.model.errors import UsageError
from poolproof.harness.model.evidence import Evidence
from poolproof.harness.run.names import pool_name
from poolproof.harness.run.request import Request, why_skipped
from poolproof.harness.subjects.driver import conversation, pool
from poolproof.harness.subjects.driver.messages import DriverError
from poolproof.harness.subjects.driver.pool import DriverPool
from poolproof.harness.subjects.named import Named
from poolproof.harness.subjects.pools import find_pool
from poolproof.scenarios import CATALOGUE
from tests.waiting import wait_until

Scripted = Callable[..., str]


def open_pool(command: str, observer: Callable[[Event], None] | None = None, **options: object) -> DriverPool:
    return DriverPool(command, PoolConfig.from_options({"workers": 2} | options), observer)


def test_calls_and_their_errors(scripted: Scripted) -> None:
    with open_pool(scripted()) as pool:
        assert pool.execute("echo", {"value": [1, None, "é"]}) == [1, None, "é"]
        with pytest.raises(CommandError, match="unknown nope"):
            pool.execute("nope")
        with pytest.raises(CallTimeout):
            pool.execute("sleep", {"seconds": 9}, timeout_s=0.1)
        with pytest.raises(InvalidRequest, match=r"args\['value'\] is of the type set"):
            pool.execute("echo", {"value": {1}})
        assert pool.status().statistics.outcomes == {
            "result": 1,
            "CommandError": 1,
            "CallTimeout": 1,
            "InvalidRequest": 1,
        }
        assert [worker.worker_id for worker in pool.status().workers] == [1, 2]
        assert (pool.warm_up(), pool.health_check().live) == (2, 2)
    with pytest.raises(PoolClosed):
        pool.execute("echo")


def test_sessions_are_the_drivers(scripted: Scripted) -> None:
    with open_pool(scripted()) as pool:
        pool.execute_in_session("anna", "put", {"key": "k", "value": 7})
        assert pool.execute("get", {"key": "k"}, session="anna") == {"value": 7}
        assert [(status.session_id, status.operations) for status in pool.sessions()] == [("anna", 2)]
        assert (pool.end_session("anna"), pool.end_session("anna")) == (True, False)
        pool.execute_in_session("anna", "put", {"key": "k", "value": 8})
        pool.restart()
        assert pool.sessions() == (), "this driver forgets its sessions"


def test_the_events_of_a_call_have_its_number(scripted: Scripted) -> None:
    events: list[Event] = []
    with open_pool(scripted(), events.append) as pool:
        pool.execute("echo", {"value": 1})
    calls = {event.call for event in events} - {None}
    assert len(calls) == 1
    told = [event.kind.value for event in sorted(events, key=lambda event: event.at_ns)]
    assert sorted(told[:2]) == ["spawn", "spawn"]
    assert told[2] == "enqueue"
    assert [kind for kind in told if kind in ("accept", "send", "receive", "checkin")] == [
        "accept",
        "send",
        "receive",
        "checkin",
    ]
    assert told[-1] == EventKind.CLOSE


def test_an_option_that_the_driver_does_not_take_is_named(scripted: Scripted) -> None:
    open_pool(scripted(), overflow=1).close()
    with pytest.raises(ConfigError, match="the driver 'scripted' does not take the option 'max_queue'"):
        open_pool(scripted(), max_queue=3)


def test_a_name_has_one_living_pool(scripted: Scripted) -> None:
    with open_pool(scripted(), name="a-driver-of-tests"), pytest.raises(PoolNameConflict):
        open_pool(scripted(), name="a-driver-of-tests")
    open_pool(scripted(), name="a-driver-of-tests").close()


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("dies", "exited with status 3 before it answered 'call'; the last lines of its stderr: out of luck"),
        ("logs", r"wrote a line to stdout that is no message: 'INFO a call came'"),
        ("stranger", r"answered the request \d+ although there is no such request"),
        ("error", "answered with an unknown error 'NoSuchError'; there are CommandError"),
        ("nothing", "answered a call without a result"),
    ],
)
def test_what_a_driver_does_wrong_is_told_and_the_driver_is_ended(scripted: Scripted, word: str, told: str) -> None:
    command = scripted(word)
    pool = open_pool(command)
    process = psutil.Process(pool._talk.process.pid)
    with pytest.raises(DriverError, match=told) as caught:
        pool.execute("echo", {"value": 1})
    assert f"the driver {command!r}" in str(caught.value)
    with pytest.raises(DriverError, match=told.partition(" before")[0]):
        pool.execute("echo", {"value": 1})
    with pytest.raises(DriverError):
        pool.close()
    assert not process.is_running()


def test_a_second_answer_ends_the_driver(scripted: Scripted) -> None:
    pool = open_pool(scripted("twice"))
    assert pool.execute("echo", {"value": 1}) == 1
    wait_until(lambda: pool._talk.trouble, "the second answer is read")
    with pytest.raises(DriverError, match=r"answered the request \d+ a second time"):
        pool.execute("echo", {"value": 1})
    with pytest.raises(DriverError):
        pool.close()


def test_a_driver_that_does_not_answer_holds_nobody(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "SPARE_S", 0.2)
    hanging = open_pool(scripted("hangs"))
    with pytest.raises(DriverError, match=r"did not answer 'call' \(id \d+\) within 0.3 s"):
        hanging.execute("echo", {"value": 1}, timeout_s=0.1)
    assert hanging.status().statistics.outcomes == {"DriverError": 1}
    hanging.close()


def test_a_driver_that_does_not_read_holds_nobody(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "WRITE_S", 0.3)
    deaf = open_pool(scripted("deaf"))
    with pytest.raises(DriverError, match="does not read its stdin"):
        deaf.execute("echo", {"value": "x" * 1_000_000}, timeout_s=5.0)
    with pytest.raises(DriverError):
        deaf.close()


def test_a_driver_that_does_not_exit_is_told(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "EXIT_S", 0.3)
    staying = open_pool(scripted("stays"))
    process = psutil.Process(staying._talk.process.pid)
    with pytest.raises(DriverError, match=r"did not exit within 0.3 s after the end of its stdin"):
        staying.close()
    assert not process.is_running()


def test_processes_that_outlive_their_driver_are_named_and_killed(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pool, "EXIT_S", 0.3)
    leaving = open_pool(scripted("leaves"))
    with caplog.at_level(logging.ERROR, "poolproof"):
        leaving.close()
    (told,) = [record.getMessage() for record in caplog.records]
    assert "has left 1 processes behind" in told
    assert "(sleep 60)" in told
    assert not leaving._talk.process.started()


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("protocol", "speaks the protocol 2; poolproof speaks 1"),
        ("capability", "claims an unknown capability 'magic'; there are events, journal"),
    ],
)
def test_a_driver_of_another_protocol_is_no_pool(scripted: Scripted, word: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        find_pool(f"driver:{scripted(word)}")


@pytest.mark.parametrize("name", ["driver:", "driver:no-such-program", "driver:'open"])
def test_a_command_that_starts_no_driver_is_invalid_usage(name: str) -> None:
    with pytest.raises(UsageError, match="driver"):
        find_pool(name)


def test_a_driver_is_found_by_its_command(scripted: Scripted, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("POOLPROOF_DRIVERS", raising=False)
    monkeypatch.chdir(tmp_path)
    subject = find_pool(f"driver:{scripted()}")
    assert subject.commands == {"echo", "sleep", "put", "get", "ping"}
    assert subject.capabilities == {Capability.SESSIONS, Capability.EVENTS, Capability.WARM_UP}
    assert subject.cannot_show == {Evidence.JOURNALS, Evidence.STATISTICS}
    assert (subject.call_timeout_s, subject.checkout_timeout_s) == (9.0, 9.0)


def test_a_close_lets_calls_run_for_its_grace_and_refuses_those_that_wait(scripted: Scripted) -> None:
    pool = open_pool(scripted(), workers=1)
    outcomes: list[str] = []

    def call() -> None:
        try:
            pool.execute("sleep", {"seconds": 20}, timeout_s=25.0)
        except Exception as error:
            outcomes.append(type(error).__name__)

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    with pytest.raises(CheckoutTimeout):  # so the others wait or run
        pool.execute("echo", checkout_timeout_s=0.3)
    pool.close(0.1)
    for thread in threads:
        thread.join(20.0)
    assert outcomes == ["PoolClosed"] * 3


def test_a_forked_child_is_refused_and_disturbs_nobody(scripted: Scripted) -> None:
    with open_pool(scripted()) as pool:
        read_fd, write_fd = os.pipe()
        pid = os.fork()
        if pid == 0:  # the child must not run the tests that follow
            try:
                for attempt in (lambda: pool.execute("echo"), pool.status, pool.close):
                    try:
                        attempt()
                    except PoolClosed:
                        os.write(write_fd, b"refused ")
            finally:
                os.kill(os.getpid(), signal.SIGKILL)
        os.close(write_fd)
        os.waitpid(pid, 0)
        assert os.read(read_fd, 100) == b"refused refused refused "
        os.close(read_fd)
        assert pool.execute("echo", {"value": 1}) == 1


def test_what_it_cannot_be_asked_is_skipped_with_the_reason(scripted: Scripted) -> None:
    subject = find_pool(f"driver:{scripted()}")
    request = Request(observed=False)
    assert "carries JSON only" in why_skipped(CATALOGUE["binary_answers"], subject, request)
    assert "lacks kill" in why_skipped(CATALOGUE["chaos"], subject, request)
    wants = msgspec.structs.replace(CATALOGUE["any_json"], config={"max_queue": 3})
    assert "does not take the option max_queue" in why_skipped(wants, subject, request)


def test_stored_results_may_not_name_a_driver_that_the_user_has_not_named() -> None:
    with pytest.raises(UsageError, match=r"add --import 'driver:node evil\.js'"):
        Named(["driver:node mine.js"]).require_pool("driver:node evil.js")
    Named(["driver:node mine.js"]).require_pool("driver:node mine.js")


def test_a_long_command_makes_names_that_a_pool_and_a_folder_may_have() -> None:
    name = pool_name("session_handover", f"driver:{'/long' * 60}/node driver.js")
    assert PoolConfig(name=name).name == name

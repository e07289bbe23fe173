"""The reference model of outcomes: literal calls that cannot have ended so, and their neighbours that can."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from poolproof.harness.model.fault import FaultKind
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.oracle import ExplainedOutcomes
from poolproof.harness.oracle.waiters import WAITER_LABEL

OPTIONS = {"info": {"capabilities": ("options",)}}


def examples(history: Any) -> str:
    return " | ".join(ExplainedOutcomes().check(history).examples)


def verdict(history: Any) -> Verdict:
    return ExplainedOutcomes().check(history).verdict


def named(nonce: str, **args: Any) -> dict[str, Any]:
    return {"args": {**args, "nonce": nonce}}


def test_without_a_call_nothing_is_known(build: Any) -> None:
    assert verdict(build.history()) is Verdict.UNKNOWN


@pytest.mark.parametrize("command", ["fail", "unknown_a", "exit", "bad_frame"])
def test_a_command_that_must_fail_has_no_result(build: Any, command: str) -> None:
    assert verdict(build.history(build.op(0, command=command, value=1))) is Verdict.FAIL


def test_a_command_fails_with_its_own_message(build: Any) -> None:
    def fails(error: str) -> Any:
        op = build.op(0, command="fail", outcome="CommandError", error=error, **named("1.0.0", message="mine"))
        return build.history(op)

    assert verdict(fails("v2: mine")) is Verdict.PASS
    assert "not the command's own" in examples(fails("v2: another's"))
    op = build.op(0, command="fail", outcome="CommandError", error=r"v2: a\x07", **named("1.0.0", message="a\x07"))
    assert verdict(build.history(op)) is Verdict.PASS, "an error shows what is not printable"


def test_an_unknown_command_is_named(build: Any) -> None:
    def fails(error: str) -> Any:
        return build.history(build.op(0, command="unknown_a", outcome="CommandError", error=error))

    assert verdict(fails("unknown command 'unknown_a'")) is Verdict.PASS
    assert verdict(fails("unknown command 'unknown_b'")) is Verdict.FAIL


def test_an_echo_cannot_fail(build: Any) -> None:
    assert "cannot fail" in examples(build.history(build.op(0, outcome="CommandError", error="no")))


def test_a_crash_needs_a_cause(build: Any) -> None:
    crashed = build.op(0, outcome="WorkerCrashed", pid=101)
    assert "nothing has ended a worker" in examples(build.history(crashed))
    kill = msgspec.structs.replace(build.fault(FaultKind.KILL), pid=101)
    assert verdict(build.history(crashed, faults=[kill])) is Verdict.PASS
    elsewhere = msgspec.structs.replace(kill, pid=102)
    assert "nothing has ended process 101" in examples(build.history(crashed, faults=[elsewhere]))


def test_a_crash_brings_the_last_words_of_its_own_worker(build: Any) -> None:
    def crashes(error: str, **fields: Any) -> Any:
        ends = {"command": "exit", "outcome": "WorkerCrashed", "sent": "yes"}
        other = build.op(1, error="leaving; nonce 1.0.1", **ends)
        return build.history(build.op(0, error=error, **ends), other, **fields)

    assert verdict(crashes("leaving; nonce 1.0.0")) is Verdict.PASS
    assert "last words of the worker of call 1.0.1" in examples(crashes("leaving; nonce 1.0.1"))
    assert "last words of the worker of call 1.0.1" in examples(crashes("nonce 1.0.1\nnonce 1.0.0"))
    assert verdict(crashes("gone")) is Verdict.PASS  # a pool that promises no last words
    assert "lacks what the worker wrote last" in examples(crashes("gone", **OPTIONS))


def test_a_sleep_lasts_as_long_as_asked(build: Any) -> None:
    def sleeps(end: float, slept_s: float) -> Any:
        op = build.op(0, 0, end, command="sleep", value={"slept_s": slept_s}, **named("1.0.0", seconds=0.02))
        return build.history(op)

    assert verdict(sleeps(21, 0.02)) is Verdict.PASS
    assert "answered in" in examples(sleeps(19, 0.02))
    assert "instead of" in examples(sleeps(21, 0.01))


def test_the_answer_of_a_pid_is_that_of_the_process_that_served_it(build: Any) -> None:
    assert verdict(build.history(build.op(0, command="pid", pid=101, value={"pid": 101}))) is Verdict.PASS
    assert verdict(build.history(build.op(0, command="pid", pid=101, value={"pid": 102}))) is Verdict.FAIL


def test_nobody_is_cancelled_who_was_not_interrupted(build: Any) -> None:
    def cancelled(*faults: Any, **fields: Any) -> Any:
        return build.history(build.op(0, outcome="Cancelled", **fields), faults=faults)

    interrupt = build.fault(FaultKind.CLIENT_INTERRUPT)
    assert verdict(cancelled()) is Verdict.FAIL
    assert verdict(cancelled(interrupt)) is Verdict.PASS
    assert verdict(cancelled(label="cancelled")) is Verdict.PASS
    assert verdict(cancelled(label=f"{WAITER_LABEL}1")) is Verdict.PASS
    two = build.history(build.op(0, outcome="Cancelled"), build.op(1, outcome="Cancelled"), faults=[interrupt])
    assert verdict(two) is Verdict.FAIL
    apart = build.history(
        build.op(0, outcome="Cancelled"), build.op(1, outcome="Cancelled", client=1), faults=[interrupt, interrupt]
    )
    assert "several clients" in examples(apart)


def test_a_queue_is_full_only_with_so_many_calls(build: Any) -> None:
    def full(others: int, most: int | None) -> Any:
        calls = [build.op(1 + number, 0, 20) for number in range(others)]
        info = {"options": {} if most is None else {"max_queue": most}}
        return build.history(build.op(0, 5, 6, outcome="QueueFull"), *calls, info=info)

    assert verdict(full(5, None)) is Verdict.FAIL
    assert verdict(full(2, 2)) is Verdict.PASS
    assert "1 other calls" in examples(full(1, 2))


def test_a_pool_is_closed_only_after_its_close(build: Any) -> None:
    refused = build.op(0, 0, 10, outcome="PoolClosed")
    assert verdict(build.history(refused)) is Verdict.FAIL
    assert verdict(build.history(refused, faults=[build.fault(FaultKind.CLOSE, ms=5)])) is Verdict.PASS
    assert verdict(build.history(refused, faults=[build.fault(FaultKind.CLOSE, ms=15)])) is Verdict.FAIL


def test_a_close_lets_a_call_end_that_runs(build: Any) -> None:
    close = build.fault(FaultKind.CLOSE, ms=5)

    def closed(start: float) -> Any:
        service = build.service(101, 1, start, 9, nonce="1.0.0")
        return build.history(build.op(0, 0, 10, outcome="PoolClosed"), faults=[close], services=[service])

    assert "it ran when the close began" in examples(closed(1))
    assert verdict(closed(6)) is Verdict.PASS


def test_a_session_is_lost_only_with_a_worker_and_a_short_log(build: Any) -> None:
    lost = build.op(0, outcome="SessionLost", session="s")
    ended = build.op(1, command="exit", outcome="WorkerCrashed", error="nonce 1.0.1")
    assert verdict(build.history(lost)) is Verdict.FAIL
    assert verdict(build.history(lost, ended)) is Verdict.PASS
    assert "holds the whole session" in examples(build.history(lost, ended, **OPTIONS))
    short = {"info": {"capabilities": ("options",), "options": {"session_log_bytes": 200}}}
    assert verdict(build.history(lost, ended, **short)) is Verdict.PASS
    assert "in no session" in examples(build.history(build.op(0, outcome="SessionLost"), ended))


@pytest.mark.parametrize("outcome", ["CircuitOpen", "InvalidRequest", "HookError", "foreign KeyError"])
def test_an_outcome_that_nothing_can_cause_has_no_explanation(build: Any, outcome: str) -> None:
    assert verdict(build.history(build.op(0, outcome=outcome))) is Verdict.FAIL


@pytest.mark.parametrize(("failures", "expected"), [(1, Verdict.FAIL), (2, Verdict.PASS)])
def test_the_circuit_opens_after_so_many_failures_in_a_row(build: Any, failures: int, expected: Verdict) -> None:
    def refused(served: float | None = None, **info: Any) -> Any:
        options = {"options": {"start_failures_to_open": 2}, "workers": 1, **info}
        faults = [build.fault(FaultKind.CRASH_START, ms=10 + place) for place in range(failures)]
        services = [] if served is None else [build.service(101, 1, served, served + 1)]
        call = build.op(0, 0, 30, outcome="CircuitOpen")
        return build.history(call, faults=faults, services=services, info=options)

    assert verdict(refused()) is expected
    assert verdict(refused(served=5)) is expected
    assert verdict(refused(served=20)) is Verdict.FAIL  # a worker has served since
    assert verdict(refused(served=20, workers=2)) is Verdict.PASS  # they start at the same time, in no order


def test_no_circuit_opens_without_a_failed_start(build: Any) -> None:
    assert "no start of a worker has failed" in examples(build.history(build.op(0, outcome="CircuitOpen")))


@pytest.mark.parametrize(("ends", "expected"), [(2, Verdict.FAIL), (3, Verdict.PASS)])
def test_workers_that_end_before_their_first_answer_open_the_circuit_beyond_two_a_place(
    build: Any, ends: int, expected: Verdict
) -> None:
    deaths = [build.fault(FaultKind.KILL, ms=10 + place) for place in range(ends)]
    call = build.op(0, 0, 30, outcome="CircuitOpen")
    assert verdict(build.history(call, faults=deaths, info={"workers": 1})) is expected

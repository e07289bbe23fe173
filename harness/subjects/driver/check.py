"""The conformance check of drivers: each rule of docs/reference/driver.md is tried on a driver of its own.

A rule is kept, broken (with what the driver did instead), or not tried (with the reason).
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from poolproof.bridge import EventKind, InvalidRequest, PoolError
from poolproof.bridge.worker.intervals import read_journals
from poolproof.harness.model.errors import UsageError
from poolproof.harness.subjects.driver.messages import STATISTICS, BrokenRule
from poolproof.harness.subjects.driver.process import command_lines
from poolproof.harness.subjects.driver.status import ToldStatus
from poolproof.harness.subjects.driver.trial import ANSWER_S, BrokenPromise, NotTried, Trial, require, together

EXIT_S = 5.0
LEAVE_S = 10.0
SLOW_S = 1.0
SHORT_S = 0.3
LATE_S = 3.0
"""How much later than its limit a call may end, in seconds, on a busy machine."""
MANY = 40
PATIENCE_S = 5.0


class Rule(NamedTuple):
    """A rule: its number on the page, its text, and a function that tries it; `opened`: it needs an open pool."""

    number: str
    text: str
    attempt: Callable[[Trial], None]
    opened: bool = True


class Tried(NamedTuple):
    """The result for a rule: whether the driver kept it. `kept` is None if the rule was not tried."""

    rule: Rule
    kept: bool | None
    told: str = ""


def check_driver(command: str) -> Iterator[Tried]:
    """Try each rule, and yield its result. Raises UsageError if the driver cannot be started."""
    for rule in RULES:
        with tempfile.TemporaryDirectory(prefix="poolproof-driver-") as folder:
            yield _attempt(rule, command, Path(folder))


def _attempt(rule: Rule, command: str, folder: Path) -> Tried:
    trial = None
    try:
        trial = Trial(command, folder, opened=rule.opened)
        rule.attempt(trial)
        if trial.talk.trouble:
            return Tried(rule, kept=False, told=trial.talk.trouble)
        return Tried(rule, kept=True)
    except NotTried as reason:
        return Tried(rule, kept=None, told=str(reason))
    except (BrokenPromise, BrokenRule, PoolError) as error:
        return Tried(rule, kept=False, told=f"{error}")
    except UsageError:
        raise
    finally:
        if trial is not None:
            trial.end()


def _hello(trial: Trial) -> None:
    # The handshake itself has read and checked the answer.
    require(trial.hello.name, "its name is empty")


def _open(trial: Trial) -> None:
    command, args = trial.probe()
    trial.call(command, args)


def _own_results(trial: Trial) -> None:
    trial.needs("echo")
    values = [{"number": number, "text": 'é𝄞\n"\\'} for number in range(MANY)]
    found = together([lambda value=value: trial.call("echo", {"value": value}) for value in values])  # type: ignore[misc]
    wrong = [f"{got!r:.100} instead of {sent!r:.100}" for got, sent in zip(found, values, strict=True) if got != sent]
    require(not wrong, f"{len(wrong)} of {MANY} calls at the same time got {wrong[0] if wrong else ''}")


def _any_value(trial: Trial) -> None:
    trial.needs("echo")
    for value in (None, 0, False, "", [], {}, {"result": 1}, 2**63 + 1, 0.1, -1.5e300, [[[None]]]):
        got = trial.call("echo", {"value": value})
        require(got == value and type(got) is type(value), f"{value!r} came back as {got!r}")


def _goes_on_reading(trial: Trial) -> None:
    trial.needs("sleep")
    began = time.monotonic()
    sleeps = [lambda: trial.call("sleep", {"seconds": SLOW_S})] * 2
    found = together([*sleeps, lambda: trial.ask("hello", limit_s=SLOW_S / 2)])
    require(isinstance(found[-1], dict), f"it did not answer hello while calls ran: {found[-1]}")
    failed = [error for error in found[:2] if isinstance(error, Exception)]
    require(not failed, f"a call of {SLOW_S} s failed after {time.monotonic() - began:.1f} s: {failed}")


def _unknown_command(trial: Trial) -> None:
    name, text = trial.outcome("no_such_command", {})
    require(name == "CommandError", f"the call of no_such_command ended as {name}: {text}")
    require("no_such_command" in text, f"the error does not name the command: {text!r}")


def _unknown_type(trial: Trial) -> None:
    try:
        trial.ask("no_such_type")
    except InvalidRequest as error:
        require("no_such_type" in error.message, f"the error does not name the type: {error.message!r}")
    else:
        raise BrokenPromise("it answered ok to a request of the type no_such_type")
    _open(trial)


def _call_timeout(trial: Trial) -> None:
    trial.needs("sleep")
    trial.call("sleep", {"seconds": 0})
    began = time.monotonic()
    name, text = trial.outcome("sleep", {"seconds": 30}, timeout_s=SHORT_S)
    took_s = time.monotonic() - began
    require(name == "CallTimeout", f"a call of 30 s with a limit of {SHORT_S} s ended as {name}: {text}")
    require(took_s < SHORT_S + LATE_S, f"it ended after {took_s:.1f} s; the limit is {SHORT_S} s")


def _checkout_timeout(trial: Trial) -> None:
    trial.needs("sleep")
    trial.call("sleep", {"seconds": 0})
    busy = [lambda: trial.outcome("sleep", {"seconds": SLOW_S / 2})] * 8

    def late() -> tuple[str, str]:
        time.sleep(SHORT_S / 2)  # all workers are busy by then
        return trial.outcome("sleep", {"seconds": 0}, checkout_timeout_s=SHORT_S)

    *others, (name, text) = together([*busy, late])
    require(name == "CheckoutTimeout", f"a call that no worker took within {SHORT_S} s ended as {name}: {text}")
    wrong = [other for other in others if other[0] != "result"]
    require(not wrong, f"the other calls were disturbed: {wrong}")


def _sessions(trial: Trial) -> None:
    trial.claims("sessions")
    command, args = trial.probe()
    trial.call(command, args, session="one")
    if trial.hello.commands is None or {"put", "get"} <= set(trial.hello.commands):
        for session in ("one", "two"):
            trial.call("put", {"key": "k", "value": session}, session=session)
        for session in ("one", "two"):
            got = trial.call("get", {"key": "k"}, session=session)
            require(isinstance(got, dict) and got.get("value") == session, f"session {session!r} got {got!r}")
    told = [each.get("session") for each in trial.ask("status").get("sessions", ())]
    require("one" in told, f"status tells the sessions {told}, without 'one'")
    require(
        trial.ask("end_session", session="one").get("existed") is True, "end_session of a session said no `existed`"
    )
    require(
        trial.ask("end_session", session="one").get("existed") is False, "a session that was ended existed once more"
    )


def _status(trial: Trial) -> None:
    _open(trial)
    told = trial.ask("status")
    if STATISTICS in trial.hello.capabilities:
        require("statistics" in told, f"it claims statistics, but its status has none: {told!r:.200}")
    try:
        msgspec.convert(told, type=ToldStatus)
    except msgspec.ValidationError as error:
        raise BrokenPromise(f"{error}; the answer is {told!r:.200}") from error


def _warm_up(trial: Trial) -> None:
    trial.claims("warm_up")
    ready = trial.ask("warm_up", limit_s=30.0, n=2).get("ready")
    require(isinstance(ready, int) and ready >= 2, f"`ready` is {ready!r} after a warm_up of 2 workers")
    pids = [each.get("pid") for each in trial.ask("status").get("workers", ())]
    alive = [pid for pid in pids if isinstance(pid, int) and Path(f"/proc/{pid}").exists()]
    require(len(alive) >= 2, f"status tells the workers' processes {pids}; two that live are needed")


def _events(trial: Trial) -> None:
    trial.claims("events")
    command, args = trial.probe()
    number = trial.talk.next_id()
    trial.call(command, args, request_id=number)
    deadline = time.monotonic() + PATIENCE_S
    wanted = [EventKind.ACCEPT, EventKind.SEND, EventKind.RECEIVE, EventKind.CHECKIN]
    while time.monotonic() < deadline:
        told = [event.kind for event in sorted(trial.events, key=lambda e: e.at_ns) if event.call == number]
        if told[-1:] == [EventKind.CHECKIN]:
            break
        time.sleep(0.01)
    told = [kind for kind in told if kind is not EventKind.OFFER]
    require(
        told == wanted, f"the call {number} had the events {[str(k) for k in told]}, not accept, send, receive, checkin"
    )
    started = {event.worker for event in trial.events if event.kind is EventKind.SPAWN}
    used = {event.worker for event in trial.events if event.call == number}
    require(used <= started, f"the worker {used} was used; only {started} were reported to spawn")


def _journal(trial: Trial) -> None:
    trial.claims("journal")
    command, args = trial.probe()
    number = trial.talk.next_id()
    trial.call(command, {**args, "nonce": "check.1"}, request_id=number)
    found = [each for each in read_journals(trial.folder) if each.nonce == "check.1"]
    require(len(found) == 1, f"the journals have {len(found)} entries of the call's nonce")
    require(found[0].end_ns is not None, "the journal has no end of the call")
    if trial.hello.request_ids:
        told = found[0].request_id
        require(told == number, f"it claims request_ids, but the journal has the id {told} for the call {number}")


def _close(trial: Trial) -> None:
    command, args = trial.probe()
    trial.call(command, args)
    trial.ask("close", grace_s=1.0)
    name, text = trial.outcome(command, args)
    require(name == "PoolClosed", f"a call after the close ended as {name}: {text}")
    trial.ask("close", grace_s=1.0)
    status = trial.finish(EXIT_S)
    require(status == 0, f"it {_exited(status)} within {EXIT_S:g} s after the end of its stdin")
    left = trial.talk.process.await_empty(EXIT_S)
    require(not left, f"it has left processes behind: {command_lines(left)}")


def _close_under_load(trial: Trial) -> None:
    trial.needs("sleep")
    trial.call("sleep", {"seconds": 0})
    outcomes: list[tuple[str, str]] = []
    count = 6

    def call() -> None:
        outcomes.append(trial.outcome("sleep", {"seconds": 20}, timeout_s=30.0))

    def close() -> int:
        unanswered: list[int] = []
        last = time.monotonic() + PATIENCE_S
        while trial.talk.unanswered < count and not outcomes and time.monotonic() < last:
            time.sleep(0.005)  # until all calls are sent
        time.sleep(SHORT_S)
        began = time.monotonic()
        trial.talk.ask("close", {"grace_s": SHORT_S}, limit_s=SHORT_S + ANSWER_S, on_answer=unanswered.append)
        require(time.monotonic() - began < SHORT_S + LATE_S, f"close took {time.monotonic() - began:.1f} s")
        return unanswered[0]

    *_, missing = together([*[call] * count, close])
    if isinstance(missing, Exception):
        raise missing
    require(not missing, f"it answered close while {missing} of {count} calls had no answer")
    wrong = [outcome for outcome in outcomes if outcome[0] != "PoolClosed"]
    require(not wrong, f"calls that the close cut short or refused ended as {wrong[0] if wrong else ''}")


def _abandoned(trial: Trial) -> None:
    command, args = trial.probe()
    trial.call(command, args)
    status = trial.finish(LEAVE_S)
    require(status is not None, f"it lived on {LEAVE_S:g} s after the end of its stdin, without a close")
    left = trial.talk.process.await_empty(LEAVE_S)
    require(not left, f"it has left processes behind: {command_lines(left)}")


def _exited(status: int | None) -> str:
    return "did not exit" if status is None else f"exited with status {status}"


RULES = (
    Rule("D1", "hello is answered with the protocol, a name, known capabilities and commands", _hello, opened=False),
    Rule("D2", "open makes a pool that answers calls", _open),
    Rule("D3", "many calls at the same time are each answered once, with their own results", _own_results),
    Rule("D4", "any JSON value comes back unchanged", _any_value),
    Rule("D5", "other requests are answered while calls run", _goes_on_reading),
    Rule("D6", "an unknown command is a CommandError that names it", _unknown_command),
    Rule("D7", "a request of an unknown type is an InvalidRequest that names it", _unknown_type),
    Rule("D8", "a call ends as CallTimeout at its timeout_s", _call_timeout),
    Rule("D9", "a call that gets no worker in checkout_timeout_s ends as CheckoutTimeout", _checkout_timeout),
    Rule("D10", "sessions keep their own state, are told by status, and end once", _sessions),
    Rule("D11", "status is answered, with a number, a process and a state for each worker that it lists", _status),
    Rule("D12", "warm_up starts workers, whose processes status tells", _warm_up),
    Rule("D13", "each call has the events accept, send, receive and checkin, and each worker spawn", _events),
    Rule("D14", "the workers' journals have each request with its nonce", _journal),
    Rule("D15", "after close calls are refused, close may be repeated, and the driver exits with status 0", _close),
    Rule("D16", "close ends the calls that wait, and after grace_s the others; then it is answered", _close_under_load),
    Rule("D17", "at the end of its stdin the driver exits and leaves no process behind", _abandoned),
)

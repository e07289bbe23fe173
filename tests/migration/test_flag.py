"""A feature flag sets the position: what it says is applied, and where nothing valid is said, nothing changes."""

from __future__ import annotations

import gc
import importlib
import itertools
import logging
import os
import socket
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openfeature", reason="openfeature-sdk is not installed: pip install 'poolproof[openfeature]'")

from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.event import ProviderEventDetails
from openfeature.exception import ErrorCode, GeneralError
from openfeature.flag_evaluation import FlagResolutionDetails, Reason
from openfeature.provider.in_memory_provider import InMemoryFlag, InMemoryProvider

from poolproof.bridge import ConfigError, PoolClosed
from poolproof.migration import Guardrails, MigratingPool, Moved, Plan, Position, StateError, StateFile, flag, migrating
from poolproof.migration.followers.record import Record
from poolproof.migration.followers.registry import find_followers

Eventually = Callable[..., Any]
KEY = "checkout-pool"
SOURCE = f"the flag '{KEY}' of In-Memory Provider"
WHY = {"why": "a test"}
PATIENT_S = 60.0
"""A busy machine is no trouble of a provider."""


class Remote:
    """A flag of the SDK's in-memory provider, whose value, errors and delays are the test's."""

    def __init__(self) -> None:
        self.value: Any = "v1"
        self.reason = Reason.STATIC
        self.error: Exception | None = None
        self.opened = threading.Event()
        self.opened.set()
        self.contexts: list[EvaluationContext] = []
        self.provider = InMemoryProvider({KEY: InMemoryFlag("it", {"it": "v1"}, context_evaluator=self._evaluate)})
        self.use(self.provider)

    def use(self, provider: Any) -> None:
        """Make this the provider of the migration."""
        api.set_provider_and_wait(provider, flag.DOMAIN)

    def say(self, value: Any) -> None:
        """Change the value, and tell so by an event."""
        self.value = value
        self.provider.emit_provider_configuration_changed(ProviderEventDetails(flags_changed=[KEY]))

    def fail(self, code: ErrorCode) -> None:
        """Tell that the provider is in trouble."""
        self.provider.emit_provider_error(ProviderEventDetails(message="as asked", error_code=code))

    def recover(self) -> None:
        """End every trouble."""
        self.opened.set()
        self.error, self.reason = None, Reason.STATIC
        if api.get_client(flag.DOMAIN).provider is not self.provider:
            self.use(self.provider)
        self.provider.emit_provider_ready(ProviderEventDetails())

    def _evaluate(self, _: Any, context: EvaluationContext) -> FlagResolutionDetails[Any]:
        self.contexts.append(context)
        assert self.opened.wait(60), "a gate that nobody opened"
        if self.error is not None:
            raise self.error
        return FlagResolutionDetails(value=self.value, reason=self.reason, variant="it")


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> Iterator[Remote]:
    """A flag whose value is v1. At the end no provider is left."""
    monkeypatch.setattr(flag, "ANSWER_S", PATIENT_S)
    remote = Remote()
    yield remote
    remote.opened.set()
    api.shutdown()


@pytest.fixture
def state(tmp_path: Path) -> StateFile:
    """The state file beside which followers register; it is never made."""
    return StateFile(tmp_path / "state.json")


@pytest.fixture
def follow(remote: Remote, migrating: Callable[..., Any], state: StateFile) -> Callable[..., Any]:
    """Make a migrating pool over scripted ones that follows the flag."""
    return lambda **options: migrating(**{"flag": KEY, "poll_s": 0.01, "state_file": str(state.path), **options})


def _record(state: StateFile) -> Record:
    [follower] = find_followers(state.followers_path)
    return follower.record


def test_positions_change_while_calls_run_and_no_call_is_lost_or_wrong(
    follow: Any, remote: Remote, until: Eventually
) -> None:
    moved: list[Moved] = []
    quiet = Guardrails(latency_slack_s=60)  # this machine is not the test's own
    pool, v1, v2 = follow(idempotent=frozenset({"echo"}), on_change=moved.append, guardrails=quiet)
    assert pool.position == Position()
    over, wrong, done = threading.Event(), [], [0] * 4

    def call(client: int) -> None:
        values: list[int] = []
        for number in itertools.count(1):
            if over.is_set():
                return
            nonce = f"{client}-{number}"
            values.append(number)
            found = (
                pool.execute("echo", {"value": number}),
                pool.execute("note", {"nonce": nonce}),
                pool.execute_in_session(f"s{client}", "append", {"value": number})["values"],
            )
            if found != (number, nonce, values):
                wrong.append(found)
            done[client] = number

    clients = [threading.Thread(target=call, args=(client,)) for client in range(4)]
    for client in clients:
        client.start()
    steps = ["shadow", "canary:50", "v2", "v1", "canary:25", "canary:100", "shadow", "v1"]
    try:
        for step in steps:
            remote.say(step)
            until(lambda: pool.position == Position.parse(step), f"{step} is applied")  # noqa: B023
            goal = [number + 5 for number in done]
            until(lambda: all(a >= b for a, b in zip(done, goal, strict=True)), "calls run")  # noqa: B023
    finally:
        over.set()
        for client in clients:
            client.join(30)
    assert wrong == []
    notes = {f"{client}-{number}" for client in range(4) for number in range(1, done[client] + 1)}
    assert v1.executed + v2.executed == dict.fromkeys(notes, 1), "each call is carried out once"
    until(lambda: len(moved) == len(steps), "the listener is told")
    assert [str(each.after) for each in moved] == [str(Position.parse(step)) for step in steps]
    assert {each.who for each in moved} == {SOURCE}
    assert moved[1].why == "its value is canary:50 (variant 'it', reason STATIC)"


def test_a_change_without_an_event_is_seen_by_looking_and_an_event_is_enough(remote: Remote, until: Eventually) -> None:
    looking = flag.FlagSource(KEY, 0.01, lambda: None)
    told = threading.Event()
    listening = flag.FlagSource(KEY, 3600.0, told.set)
    try:
        remote.value = "shadow"
        until(lambda: str(looking.read().position) == "shadow", "it looks by itself")
        assert str(listening.read().position) == "v1", "it waits for an event"
        told.clear()
        remote.say("canary:3")
        until(lambda: str(listening.read().position) == "canary:3", "it has been told")
        assert told.wait(30), "and says so"
        assert listening.stamp() == listening.read()
        assert listening.read().sequence == 2
    finally:
        looking.close()
        listening.close()
        listening.close()


def test_the_targeting_context_has_the_host_and_the_process(follow: Any, remote: Remote) -> None:
    follow()
    host = socket.gethostname()
    context = remote.contexts[0]
    assert (context.targeting_key, context.attributes) == (host, {"host": host, "pid": os.getpid()})


class Unready(InMemoryProvider):
    """A provider that never becomes ready by itself."""

    def __init__(self) -> None:
        super().__init__({KEY: InMemoryFlag("it", {"it": "v2"})})
        self.opened = threading.Event()

    def initialize(self, evaluation_context: EvaluationContext) -> None:
        assert self.opened.wait(60), "a provider that nobody made ready"


def _give_up(remote: Remote) -> Unready:
    provider = Unready()
    api.set_provider(provider, flag.DOMAIN)
    return provider


TROUBLES: dict[str, tuple[Callable[[Remote], Any], str]] = {
    "an invalid value": (lambda remote: remote.say("canary:0"), "canary 0: must be a whole number of percent"),
    "no position": (lambda remote: remote.say("V2 "), "'V2 ': must be v1, v2, shadow or canary:PERCENT"),
    "an endless value": (lambda remote: remote.say("x" * 10**6), "pool version 'xxx"),
    "a value of another type": (lambda remote: remote.say(True), "TYPE_MISMATCH"),
    "a missing flag": (lambda remote: remote.use(InMemoryProvider({})), "FLAG_NOT_FOUND: Flag"),
    "an error": (lambda remote: setattr(remote, "error", GeneralError("as asked")), "GENERAL: as asked"),
    "a bug of the provider": (lambda remote: setattr(remote, "error", RuntimeError("as asked")), "GENERAL: as asked"),
    "a disabled flag": (lambda remote: (setattr(remote, "reason", Reason.DISABLED), remote.say("")), "DISABLED"),
    "a stale value": (lambda remote: setattr(remote, "reason", Reason.STALE), "no current value: reason STALE"),
    "a provider that is not ready": (_give_up, "the provider is NOT_READY"),
    "a stale provider": (
        lambda remote: remote.provider.emit_provider_stale(ProviderEventDetails()),
        "the provider is STALE",
    ),
    "a provider in error": (lambda remote: remote.fail(ErrorCode.GENERAL), "the provider is ERROR"),
    "a fatal provider": (lambda remote: remote.fail(ErrorCode.PROVIDER_FATAL), "the provider is FATAL"),
    "no provider": (lambda remote: api.clear_providers(), "of No-op Provider: no current value: reason DEFAULT"),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_trouble_keeps_the_position_says_so_once_and_ends(
    follow: Any, remote: Remote, state: StateFile, until: Eventually, caplog: pytest.LogCaptureFixture, trouble: str
) -> None:
    remote.value = "canary:25"
    pool, _, _ = follow()
    assert str(pool.position) == "canary:25", "it is applied from the begin"
    assert pool.report().flag == SOURCE
    cause, told = TROUBLES[trouble]
    provider = cause(remote)
    until(lambda: told in pool.report().trouble, "it says so")
    assert pool.report().trouble.endswith("; this process keeps canary:25")
    until(lambda: told in _record(state).trouble, "in the register too")
    heard: set[float] = set()
    until(lambda: heard.add(_record(state).heard) or len(heard) == 3, "it goes on looking")
    lost = [record for record in caplog.records if "is lost" in record.getMessage()]
    assert [record.levelno for record in lost] == [logging.ERROR]
    assert str(pool.position) == _record(state).position == "canary:25"
    assert _record(state).wanted == "", "nobody knows it"
    remote.value = "shadow"
    remote.recover()
    if isinstance(provider, Unready):
        provider.opened.set()
    until(lambda: str(pool.position) == "shadow" and not pool.report().trouble, "it follows again")
    assert "the state of the migration is back" in caplog.text


def test_a_provider_that_hangs_is_told_and_the_guardrails_work_on(
    follow: Any, remote: Remote, until: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote.value = "v2"
    pool, _, v2 = follow(fall_back=False)
    monkeypatch.setattr(flag, "ANSWER_S", 0.05)
    remote.opened.clear()
    until(lambda: "no answer for 0.05 s; this process keeps v2" in pool.report().trouble, "it is told")
    v2.dead = True
    for _ in range(5):
        with pytest.raises(PoolClosed):
            pool.execute("echo")
    until(lambda: pool.position == Position(), "it rolls back")
    remote.value = "shadow"
    remote.opened.set()
    monkeypatch.setattr(flag, "ANSWER_S", PATIENT_S)
    until(lambda: str(pool.position) == "shadow" and not pool.report().trouble, "it follows again")


def test_a_provider_that_hangs_delays_the_begin_for_a_limited_time(
    follow: Any, remote: Remote, until: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote.value = "v2"
    remote.opened.clear()
    monkeypatch.setattr(flag, "ANSWER_S", 0.05)
    pool, _, _ = follow()
    assert pool.position == Position()
    assert "no answer for 0.05 s; this process uses v1" in pool.report().trouble
    monkeypatch.setattr(flag, "ANSWER_S", PATIENT_S)
    remote.opened.set()
    until(lambda: str(pool.position) == "v2" and not pool.report().trouble, "it follows")


@pytest.mark.parametrize("late", [False, True])
def test_a_process_that_begins_without_a_flag_uses_v1_until_there_is_one(
    follow: Any, remote: Remote, until: Eventually, caplog: pytest.LogCaptureFixture, late: bool
) -> None:
    provider = _give_up(remote)
    if not late:
        remote.use(InMemoryProvider({}))
    pool, _, _ = follow()
    assert pool.position == Position()
    assert pool.report().trouble.endswith("; this process uses v1")
    assert "the state of the migration is lost" in caplog.text
    provider.opened.set()
    if not late:
        remote.value = "v2"
        remote.recover()
    until(lambda: str(pool.position) == "v2" and not pool.report().trouble, "it follows")


def _break(pool: MigratingPool, v2: Any) -> None:
    v2.dead = True
    for _ in range(5):
        with pytest.raises(PoolClosed):
            pool.execute("echo", {"value": 1})


def test_a_breach_rolls_back_this_process_alone_until_the_flag_changes(
    follow: Any, remote: Remote, state: StateFile, tmp_path: Path, until: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    remote.value = "v2"
    moved: list[Moved] = []
    pool, _, v2 = follow(fall_back=False, on_change=moved.append)
    other, _, _ = follow(state_file=str(tmp_path / "other.json"))
    _break(pool, v2)
    until(lambda: pool.position == Position(), "it rolls back")
    until(lambda: moved[-1].who.startswith("guardrail of "), "the listener is told")
    until(lambda: "this process applies v1 nevertheless" in _record(state).trouble, "and says so")
    assert f"the position is set by {SOURCE}; change it there" in pool.report().trouble
    assert "all failed" in pool.report().trouble
    assert (_record(state).position, _record(state).wanted) == ("v1", "v2")
    before = len(moved)
    remote.say("v2")
    remote.use(InMemoryProvider({}))
    until(lambda: "FLAG_NOT_FOUND" in pool.report().trouble, "the flag is lost")
    assert "nevertheless" in pool.report().trouble, "both troubles are told"
    remote.recover()
    until(lambda: "FLAG_NOT_FOUND" not in pool.report().trouble, "the flag is back, with the same value")
    heard: set[float] = set()
    until(lambda: heard.add(_record(state).heard) or len(heard) == 3, "it goes on looking")
    assert (str(pool.position), len(moved)) == ("v1", before), "it does not try again"
    assert str(other.position) == "v2", "another process judges by its own calls"
    assert caplog.text.count("is in force in this process alone") == 1
    v2.dead = False
    for value in ("v1", "v2"):
        remote.say(value)
        until(lambda: str(pool.position) == value and not pool.report().trouble, "it follows again")  # noqa: B023


def test_an_application_cannot_change_the_flag_but_can_roll_back(
    follow: Any, remote: Remote, state: StateFile, until: Eventually
) -> None:
    remote.value = "canary:5"
    pool, _, _ = follow()
    for change in (lambda: pool.change("v2", **WHY), lambda: pool.promote(**WHY)):
        with pytest.raises(StateError, match=f"the position is set by {SOURCE}; change it there"):
            change()
    pool.change("canary:5", **WHY)
    assert (str(pool.position), pool.report().trouble) == ("canary:5", "")
    remote.value = "canary:10"
    until(lambda: str(pool.position) == "canary:10", "the flag changes")
    pool.roll_back(**WHY)
    assert pool.position == Position()
    assert pool.report().trouble.endswith("applies v1 nevertheless, until the state changes: a test")
    remote.say("canary:15")
    until(lambda: str(pool.position) == "canary:15", "the flag changes again")
    remote.say("v1")
    until(lambda: pool.position == Position(), "back")
    pool.roll_back(**WHY)
    assert pool.report().trouble == "", "the flag says v1 already"
    assert not state.path.exists()


def test_a_callable_follows_the_flag_too(remote: Remote, until: Eventually) -> None:
    remote.value = "v2"
    with migrating(lambda: "old", lambda: "new", Plan(flag=KEY)) as call:
        assert call() == "new"
        assert call.switch.report().flag == SOURCE
        remote.say("v1")
        until(lambda: call() == "old", "it follows")


def test_a_source_that_is_dropped_evaluates_no_more(remote: Remote, until: Eventually) -> None:
    source = flag.FlagSource(KEY, 0.01, lambda: None)
    known = weakref.ref(source)
    del source

    def is_gone() -> bool:
        gc.collect()
        return known() is None

    until(is_gone, "nothing keeps it")
    remote.say("v2")  # reaches no handler of a source that is gone


def test_a_missing_library_is_named_in_one_line(monkeypatch: pytest.MonkeyPatch, migrating: Any) -> None:
    monkeypatch.delitem(sys.modules, "poolproof.migration.flag")
    monkeypatch.delattr("poolproof.migration.flag")
    monkeypatch.setitem(sys.modules, "openfeature", None)
    with pytest.raises(ConfigError) as caught:
        migrating(flag=KEY)
    assert str(caught.value) == (f"flag '{KEY}': a flag needs openfeature-sdk: pip install 'poolproof[openfeature]'")
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("poolproof.migration.flag")

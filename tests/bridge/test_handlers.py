"""The table of commands: the legacy names are all there, and a wrong one is answered with the nearest."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from poolproof.bridge import CommandError, PoolConfig, PoolError
from poolproof.bridge.dspy import programs
from poolproof.bridge.worker import handlers
from poolproof.bridge.worker.handlers import (
    COMMANDS,
    COMMANDS_VARIABLE,
    HandlerError,
    add_commands,
    callables,
    exercise,
    find_handler,
    keyvalue,
    service,
    streams,
)
from poolproof.harness.faults.commands import COMMANDS as FAULT_COMMANDS
from poolproof.pool_v2 import PoolV2

LEGACY = [
    "ping", "configure_lm", "create_program", "execute_program", "list_programs", "delete_program",
    "get_program_info", "get_stats", "cleanup", "reset_state", "cleanup_session", "shutdown",
]  # fmt: skip


@pytest.mark.parametrize("command", LEGACY)
def test_a_command_of_the_original_has_a_handler(command: str) -> None:
    assert find_handler(command) is COMMANDS[command]


def test_no_two_files_claim_one_command() -> None:
    parts: list[Any] = [
        callables.COMMANDS,
        exercise.COMMANDS,
        keyvalue.COMMANDS,
        programs.COMMANDS,
        service.COMMANDS,
        streams.COMMANDS,
    ]
    assert sum(len(part) for part in parts) == len(COMMANDS)


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_handler_says_what_it_does(command: str) -> None:
    assert COMMANDS[command].__doc__


def test_an_unknown_command_is_named_with_the_nearest() -> None:
    with pytest.raises(HandlerError) as caught:
        find_handler("pingg")
    assert str(caught.value) == "unknown command 'pingg'; did you mean 'ping'?"


def test_an_unknown_command_that_is_near_to_none_is_named_alone() -> None:
    with pytest.raises(HandlerError) as caught:
        find_handler("xyzzy")
    assert str(caught.value) == "unknown command 'xyzzy'"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module that a worker's environment can name; what it adds is taken back after the test."""
    module = ModuleType("commands_of_a_test")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(handlers, "_added", {})
    return module


def test_the_commands_of_a_named_module_are_served(module: ModuleType) -> None:
    module.COMMANDS = {"greet": lambda context, args: "hello"}  # type: ignore[attr-defined]
    with pytest.raises(HandlerError):
        find_handler("greet")
    add_commands(module.__name__)
    assert find_handler("greet") is module.COMMANDS["greet"]
    with pytest.raises(HandlerError, match="did you mean 'greet'"):
        find_handler("great")


@pytest.mark.parametrize("found", [None, [], {"greet": "hello"}, {1: print}])
def test_a_module_without_functions_by_name_is_refused(module: ModuleType, found: Any) -> None:
    module.COMMANDS = found  # type: ignore[attr-defined]
    with pytest.raises(HandlerError, match=f"{COMMANDS_VARIABLE} 'commands_of_a_test'"):
        add_commands(module.__name__)


def test_no_module_can_replace_a_command_of_the_worker(module: ModuleType) -> None:
    module.COMMANDS = {"echo": print}  # type: ignore[attr-defined]
    with pytest.raises(HandlerError, match="already: echo"):
        add_commands(module.__name__)


def test_a_module_that_does_not_exist_is_named(module: ModuleType) -> None:
    with pytest.raises(HandlerError, match="no_module_of_this_name"):
        add_commands("no_module_of_this_name")


def test_a_worker_that_nobody_asked_to_misbehave_has_no_fault_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(COMMANDS_VARIABLE)
    with PoolV2(PoolConfig(workers=1)) as pool:
        for command in FAULT_COMMANDS:
            with pytest.raises(CommandError, match=f"unknown command '{command}'"):
                pool.execute(command)
        assert pool.execute("echo", {"value": 1}) == 1


@pytest.mark.parametrize("named", ["no_module_of_this_name", "json"])
def test_a_worker_that_cannot_have_its_commands_does_not_start_and_says_why(
    monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    monkeypatch.setenv(COMMANDS_VARIABLE, named)
    config = PoolConfig(workers=1, start_failures_to_open=1, checkout_timeout_s=60.0, call_timeout_s=60.0)
    with PoolV2(config) as pool, pytest.raises(PoolError, match=f"{COMMANDS_VARIABLE} '{named}'"):
        pool.execute("echo")

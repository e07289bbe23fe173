"""The table of commands: the legacy names are all there, and a wrong one is answered with the nearest."""

from __future__ import annotations

import pytest

from poolproof.bridge.dspy import programs
from poolproof.bridge.worker.handlers import (
    COMMANDS,
    HandlerError,
    callables,
    exercise,
    find_handler,
    injury,
    keyvalue,
    service,
    streams,
)

LEGACY = [
    "ping", "configure_lm", "create_program", "execute_program", "list_programs", "delete_program",
    "get_program_info", "get_stats", "cleanup", "reset_state", "cleanup_session", "shutdown",
]  # fmt: skip


@pytest.mark.parametrize("command", LEGACY)
def test_a_command_of_the_original_has_a_handler(command: str) -> None:
    assert find_handler(command) is COMMANDS[command]


def test_no_two_files_claim_one_command() -> None:
    parts = [
        callables.COMMANDS,
        exercise.COMMANDS,
        injury.COMMANDS,
        keyvalue.COMMANDS,
        programs.COMMANDS,
        service.COMMANDS,
        streams.COMMANDS,
    ]
    assert sum(map(len, parts)) == len(COMMANDS)


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

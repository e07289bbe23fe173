"""The commands about the worker itself."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from poolproof.bridge.worker.handlers import COMMANDS, Context

SIGNATURE = {"inputs": ["i"], "outputs": ["o"]}


def _ask(context: Context, command: str, **args: Any) -> Any:
    return COMMANDS[command](context, args)


@pytest.fixture
def used(context: Context) -> Context:
    """A worker with three programs in two sessions, one value, and some counts."""
    for name, session in (("a", "s"), ("b", "s"), ("a", "t")):
        _ask(context, "create_program", id=name, signature=SIGNATURE, session_id=session)
    _ask(context, "put", key="k", value=1, session_id="s")
    context.command_count, context.error_count = 5, 2
    return context


def test_a_ping_tells_how_the_worker_is(context: Context) -> None:
    _ask(context, "put", key="k", session_id="s")
    answer = _ask(context, "ping", nonce="n")
    assert datetime.fromisoformat(answer.pop("timestamp")).tzinfo is not None
    assert answer.pop("uptime") >= 0
    assert answer == {
        "status": "ok",
        "dspy_available": False,
        "mode": "pool-worker",
        "worker_id": 3,
        "current_session": "s",
        "nonce": "n",
    }


def test_the_statistics_are_what_was_counted(used: Context) -> None:
    answer = _ask(used, "get_stats", nonce=1)
    assert answer.pop("uptime") >= 0
    assert answer.pop("memory_usage") > 1024 * 1024
    assert answer == {
        "programs_count": 3, "command_count": 5, "error_count": 2, "dspy_available": False, "nonce": 1,
    }  # fmt: skip


def test_a_clean_up_removes_every_program_and_keeps_the_rest(used: Context) -> None:
    assert _ask(used, "cleanup", nonce=1) == {"status": "cleaned", "programs_removed": 3, "nonce": 1}
    assert _ask(used, "cleanup") == {"status": "cleaned", "programs_removed": 0}
    assert _ask(used, "get", key="k", session_id="s")["value"] == 1
    assert used.command_count == 5


def test_a_reset_forgets_everything(used: Context) -> None:
    assert _ask(used, "reset_state", nonce=1) == {"status": "reset", "programs_cleared": 3, "nonce": 1}
    assert (used.command_count, used.error_count, used.current_session, used.sessions) == (0, 0, None, {})
    assert _ask(used, "get", key="k", session_id="s")["found"] is False


def test_a_shutdown_answers_and_makes_the_worker_leave(context: Context) -> None:
    assert not context.leaving
    assert _ask(context, "shutdown", nonce=1) == {"status": "shutting_down", "worker_id": 3, "nonce": 1}
    assert context.leaving

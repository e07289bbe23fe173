"""The key-value store: one for each session, and gone with it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from poolproof.bridge.worker.handlers import COMMANDS, Context, HandlerError


def _ask(context: Context, command: str, **args: Any) -> Any:
    return COMMANDS[command](context, args)


def run(context: Context, command: str, **args: object) -> Any:
    """One command in the session `s`."""
    return COMMANDS[command](context, {"session_id": "s", **args})


@pytest.mark.parametrize("value", [None, 0, False, "", [], {"a": [1]}])
def test_a_value_is_got_as_it_was_put(context: Context, value: object) -> None:
    assert _ask(context, "put", key="k", value=value, nonce=1) == {"stored": True, "nonce": 1}
    assert _ask(context, "get", key="k", nonce=2) == {"value": value, "found": True, "nonce": 2}


def test_a_key_without_a_value_is_told_from_a_null(context: Context) -> None:
    assert _ask(context, "get", key="k") == {"value": None, "found": False}


def test_a_put_without_a_value_puts_null(context: Context) -> None:
    _ask(context, "put", key="k")
    assert _ask(context, "get", key="k") == {"value": None, "found": True}


def test_a_list_grows_in_order_and_its_answers_do_not_change_afterwards(context: Context) -> None:
    first = _ask(context, "append", key="k", value="a")
    second = _ask(context, "append", key="k", value=None, nonce=4)
    assert first == {"values": ["a"]}
    assert second == {"values": ["a", None], "nonce": 4}


def test_what_is_no_list_cannot_be_appended_to(context: Context) -> None:
    _ask(context, "put", key="k", value="text")
    with pytest.raises(HandlerError, match="the value of 'k' is not a list"):
        _ask(context, "append", key="k", value=1)
    assert _ask(context, "get", key="k")["value"] == "text"


def test_keys_are_listed_in_order(context: Context) -> None:
    for key in ("b", "a", "c"):
        _ask(context, "put", key=key)
    assert _ask(context, "list", nonce=1) == {"keys": ["a", "b", "c"], "nonce": 1}


def test_a_delete_says_whether_there_was_anything(context: Context) -> None:
    _ask(context, "put", key="k", value=None)
    assert _ask(context, "delete", key="k", nonce=1) == {"deleted": True, "nonce": 1}
    assert _ask(context, "delete", key="k") == {"deleted": False}
    assert _ask(context, "get", key="k")["found"] is False


def test_sessions_do_not_see_each_other(context: Context) -> None:
    _ask(context, "put", key="k", value=1, session_id="a")
    _ask(context, "put", key="k", value=2)
    assert _ask(context, "get", key="k", session_id="a")["value"] == 1
    assert _ask(context, "get", key="k")["value"] == 2
    assert _ask(context, "get", key="k", session_id="b")["found"] is False


def test_a_session_that_was_cleaned_up_is_empty(context: Context) -> None:
    _ask(context, "put", key="k", value=1, session_id="a")
    _ask(context, "create_program", id="p", signature={"inputs": ["i"], "outputs": ["o"]}, session_id="a")
    expected = {"status": "cleaned", "session_id": "a", "programs_removed": 1, "nonce": 1}
    assert _ask(context, "cleanup_session", session_id="a", nonce=1) == expected
    assert "a" not in context.sessions
    assert _ask(context, "get", key="k", session_id="a")["found"] is False


def test_a_session_that_never_was_can_be_cleaned_up(context: Context) -> None:
    expected = {"status": "cleaned", "session_id": "a", "programs_removed": 0}
    assert _ask(context, "cleanup_session", session_id="a") == expected


def test_a_session_that_was_cleaned_up_is_no_longer_the_current_one(context: Context) -> None:
    _ask(context, "put", key="k", session_id="a")
    _ask(context, "cleanup_session", session_id="a")
    assert _ask(context, "ping")["current_session"] is None
    _ask(context, "put", key="k", session_id="b")
    _ask(context, "cleanup_session", session_id="a")
    assert _ask(context, "ping")["current_session"] == "b"


@pytest.mark.parametrize("command", ["put", "get", "append", "delete"])
def test_a_key_is_needed(context: Context, command: str) -> None:
    with pytest.raises(HandlerError, match="argument 'key'"):
        _ask(context, command, value=1)


def test_the_anonymous_session_cannot_be_cleaned_up(context: Context) -> None:
    with pytest.raises(HandlerError, match="argument 'session_id'"):
        _ask(context, "cleanup_session")


def test_a_snapshot_restores_the_whole_session_on_another_worker(context: Context) -> None:
    run(context, "put", key="k", value=[1, {"a": None}])
    run(context, "configure_lm", model="m", temperature=0.5)
    run(context, "create_program", id="p", signature={"inputs": ["q"], "outputs": ["a"]}, program_type="react")
    run(context, "execute_program", program_id="p", inputs={"q": "why"})
    info = run(context, "get_program_info", program_id="p")
    state = json.loads(json.dumps(run(context, "snapshot_session")))

    other = Context(2, "pool-worker", lambda data: None)
    run(other, "put", key="old", value="is replaced")
    assert run(other, "restore_session", state=state)["programs_count"] == 1
    assert run(other, "list")["keys"] == ["k"]
    assert run(other, "get", key="k")["value"] == [1, {"a": None}]
    assert run(other, "get_program_info", program_id="p") == info
    assert run(other, "snapshot_session") == state


@pytest.mark.parametrize("state", [None, {}, {"values": {}, "programs": [{"x": 1}], "model": {}}, {"values": {}}])
def test_what_is_no_snapshot_is_refused_and_changes_nothing(state: object, context: Context) -> None:
    run(context, "put", key="k", value=1)
    with pytest.raises(HandlerError):
        run(context, "restore_session", state=state)
    assert run(context, "get", key="k")["value"] == 1

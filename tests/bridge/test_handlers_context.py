"""A worker's memory, and how handlers read their arguments."""

from __future__ import annotations

from typing import Any

import pytest

from poolproof.bridge.worker.handlers.context import Context, HandlerError, number, text, with_nonce


def test_sessions_are_apart_and_begun_by_their_first_use(context: Context) -> None:
    one = context.session({"session_id": "a"})
    assert context.session({"session_id": "a"}) is one
    assert context.session({"session_id": "b"}) is not one
    assert sorted(context.sessions) == ["a", "b"]


def test_without_a_name_there_is_one_anonymous_session(context: Context) -> None:
    anonymous = context.session({})
    assert context.session({"session_id": None}) is anonymous
    assert context.current_session is None


def test_the_current_session_is_the_last_that_was_named(context: Context) -> None:
    context.session({"session_id": "a"})
    assert context.current_session == "a"
    context.session({})
    assert context.current_session is None


@pytest.mark.parametrize("name", [5, True, [], {}])
def test_a_session_name_that_is_no_string_is_refused(context: Context, name: object) -> None:
    with pytest.raises(HandlerError, match="is not a string"):
        context.session({"session_id": name})
    assert context.sessions == {}


def test_the_uptime_grows(context: Context) -> None:
    first = context.uptime_s
    assert 0 <= first <= context.uptime_s


@pytest.mark.parametrize("args", [{}, {"key": ""}, {"key": None}, {"key": 5}, {"key": ["a"]}])
def test_a_text_must_be_there_and_not_empty(args: dict[str, Any]) -> None:
    with pytest.raises(HandlerError, match="argument 'key': a string is needed"):
        text(args, "key")


def test_a_text_is_given_as_it_is() -> None:
    assert text({"key": " é "}, "key") == " é "


@pytest.mark.parametrize("value", [-1, -0.001, 10.5, True, "1", None, [], float("nan")])
def test_a_number_outside_its_range_or_of_another_kind_is_refused(value: object) -> None:
    with pytest.raises(HandlerError, match="argument 'n': must be a number from 0 to 10"):
        number({"n": value}, "n", most=10)


@pytest.mark.parametrize("value", [0, 10, 0.5])
def test_a_number_of_its_range_is_given_as_it_is(value: float) -> None:
    assert number({"n": value}, "n", most=10) == value


def test_a_number_that_is_missing_has_its_default_or_is_refused() -> None:
    assert number({}, "n", most=10, default=3) == 3
    with pytest.raises(HandlerError, match="not None"):
        number({}, "n", most=10)


@pytest.mark.parametrize("nonce", ["a", 0, None])
def test_a_nonce_is_carried_if_there_is_one(nonce: object) -> None:
    assert with_nonce({"nonce": nonce}, a=1) == {"a": 1, "nonce": nonce}
    assert with_nonce({}, a=1) == {"a": 1}

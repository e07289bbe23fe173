"""Credentials are found by their fields, taken out of what is written, and hidden wherever else they turn up."""

from __future__ import annotations

import pytest

from poolproof.bridge.redaction import REDACTED, SECRET_FIELDS, hide, hide_in, redact, secrets_in
from poolproof.bridge.wire import messages
from poolproof.pool_v2.core.sessions import StateChange

KEY = "sk-planted-0123"


@pytest.mark.parametrize("name", [*sorted(SECRET_FIELDS), "API_KEY", "Authorization"])
def test_the_value_of_a_secret_field_is_redacted_at_any_depth(name: str) -> None:
    value = {"a": [{"model": "m", name: KEY}], name: [1], "other": KEY}
    assert redact(value) == {"a": [{"model": "m", name: REDACTED}], name: REDACTED, "other": KEY}
    assert value["a"] == [{"model": "m", name: KEY}]


def test_a_field_without_a_value_stays_as_it_is() -> None:
    assert redact({"api_key": None}) == {"api_key": None}


def test_secrets_are_found_unless_they_are_too_short_to_be_told_from_words() -> None:
    assert secrets_in({"x": [{"api_key": KEY}, {"api_key": "abc"}], "api_key": REDACTED}) == {KEY}
    assert secrets_in([1, None, "api_key"]) == set()


def test_what_was_found_is_hidden_in_texts_and_values_the_longest_first() -> None:
    assert hide(f"no {KEY}-long, no {KEY}", {KEY, f"{KEY}-long"}) == f"no {REDACTED}, no {REDACTED}"
    assert hide_in({KEY: [f"a {KEY}", 1, None]}, {KEY}) == {REDACTED: [f"a {REDACTED}", 1, None]}


def test_records_that_hold_arguments_do_not_tell_a_key() -> None:
    args = {"model": "m", "api_key": KEY}
    for record in (StateChange("configure_lm", args), messages.Request(1, "configure_lm", args)):
        assert KEY not in repr(record)
        assert "'m'" in repr(record)

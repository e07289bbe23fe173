"""Credentials are found by their fields, taken out of what is written, and hidden wherever else they turn up."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poolproof.bridge.config import PoolConfig
from poolproof.bridge.errors import ConfigError
from poolproof.bridge.redaction import (
    REDACTED,
    hide,
    hide_in,
    is_secret_name,
    may_hold_a_secret,
    redact,
    redact_command,
    redact_text,
    redact_words,
    secrets_in,
    secrets_of,
)
from poolproof.bridge.wire import messages
from poolproof.pool_v2.core.sessions import StateChange

KEY = "sk-planted-0123"


NAMES = [
    "api_key",
    "API_KEY",
    "apiKey",
    "APIKey",
    "apikey",
    "api-key",
    "api.key",
    "x-api-key",
    "X-Api-Key",
    "openai_api_key",
    "OPENAI_API_KEY",
    "password",
    "Password",
    "PASSWORD",
    "passwd",
    "passphrase",
    "db.password",
    "dbPassword",
    "userPassword",
    "DB_PASSWORD",
    "pwd",
    "token",
    "accessToken",
    "access_token",
    "refresh-token",
    "GITHUB_TOKEN",
    "authToken",
    "id_token",
    "secret",
    "client_secret",
    "clientSecret",
    "secretKey",
    "secret-key",
    "authorization",
    "Authorization",
    "proxy-authorization",
    "cookie",
    "Cookie",
    "Set-Cookie",
    "cookies",
    "private_key",
    "privateKey",
    "aws_access_key_id",
    "aws_secret_access_key",
    "aws_session_token",
    "azure_ad_token",
    "vertex_credentials",
    "credentials",
]
ORDINARY = """max_tokens maxTokens tokens prompt_tokens token_count tokenizer key keys value session session_id
    secretary model password_file secret-path cookie_store
    token_limit monkey author path user name _ 1 keyboard passage"""


@pytest.mark.parametrize("name", NAMES)
def test_names_of_credentials_are_known_however_their_words_are_joined(name: str) -> None:
    assert is_secret_name(name)
    assert may_hold_a_secret(json.dumps({name: 1}).encode()), "the quick test lets it pass to the slow one"


@pytest.mark.parametrize("name", ORDINARY.split())
def test_ordinary_names_are_no_credentials(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize("name", NAMES)
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


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"https://user:{KEY}@host/v1", f"https://user:{REDACTED}@host/v1"),
        (f"https://{KEY}@host/v1", f"https://{REDACTED}@host/v1"),
        (f"postgresql+asyncpg://me:{KEY}@db:5432/x", f"postgresql+asyncpg://me:{REDACTED}@db:5432/x"),
        ("ssh://git@host/x", "ssh://git@host/x"),
        (f"GET /v1?api_key={KEY}&page=2 failed", f"GET /v1?api_key={REDACTED}&page=2 failed"),
        (f"Authorization: Bearer {KEY}", f"Authorization: {REDACTED}"),
        (f"it sent Bearer {KEY}!", f"it sent Bearer {REDACTED}!"),
        (f"password={KEY}", f"password={REDACTED}"),
        (f"{{'password': '{KEY} and more', 'n': 1}}", f"{{'password': {REDACTED}, 'n': 1}}"),
        (f'{{"apiKey": "{KEY} and more", "n": 1}}', f'{{"apiKey": {REDACTED}, "n": 1}}'),
        (f"https://host/v1?token={KEY}&page=2", f"https://host/v1?token={REDACTED}&page=2"),
        (f"error: api_key={KEY}", f"error: api_key={REDACTED}"),
        (f"level=info msg=password: {KEY}", f"level=info msg=password: {REDACTED}"),
        ("max_tokens=5, tokens: 7; a@b.c; 12:30", "max_tokens=5, tokens: 7; a@b.c; 12:30"),
    ],
)
def test_credentials_in_texts_are_known_by_their_form(text: str, told: str) -> None:
    assert redact_text(text) == told
    assert redact({"x": [text]}) == {"x": [told]}
    if KEY in text:
        assert any(secret.startswith(KEY) for secret in secrets_in(text)) or "https://sk" in text
        assert may_hold_a_secret(text.encode())


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (f"serve --api-key {KEY} --port 1", f"serve --api-key '{REDACTED}' --port 1"),
        (f"serve --api-key={KEY}", f"serve '--api-key={REDACTED}'"),
        (f"env TOKEN={KEY} serve", f"env 'TOKEN={REDACTED}' serve"),
        (f"serve https://u:{KEY}@h", f"serve 'https://u:{REDACTED}@h'"),
        ("serve  --port 1 'a b'", "serve  --port 1 'a b'"),
        (f"'unclosed password={KEY}", f"'unclosed password={REDACTED}"),
    ],
)
def test_a_command_is_told_without_its_credentials(command: str, told: str) -> None:
    assert redact_command(command) == told
    assert redact_command(redact_command(command)) == told


@pytest.mark.parametrize(
    "options",
    [
        {"env": {"API_KEY": KEY, "OTHER": 5}},
        {"env": {"API_KEY": KEY, "A=B": "x"}},
        {"env": {f"password={KEY}": "x"}},
        {"env": {"API_KEY": KEY + "\0"}},
        {"env": [KEY]},
        {"worker_command": ("serve", "--api-key", KEY, "")},
        {"worker_command": f"serve --api-key={KEY} 'unclosed"},
        {"worker_command": f"serve --api-key {KEY}", "zygote": True},
        {"worker_command": {"password": KEY}},
    ],
)
def test_no_error_of_an_option_tells_a_credential(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        PoolConfig.from_options(options)
    assert KEY not in str(caught.value)
    assert next(iter(options)) in str(caught.value)


def test_credentials_of_the_environment_are_known() -> None:
    found = secrets_of({"MY_TOKEN": KEY, "DATABASE_URL": f"db://me:{KEY}2@h", "HOME": "/home/me", "PIN_TOKEN": "abc"})
    assert found == {KEY, f"{KEY}2"}


secret_texts = st.text(st.characters(codec="utf-8"), min_size=6, max_size=30).filter(
    lambda text: text.strip() == text and text not in REDACTED and REDACTED not in text
)
names = st.sampled_from(NAMES)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(deadline=None, database=None, max_examples=200)
@given(st.data())
def test_a_planted_credential_is_nowhere_in_what_is_written(data: st.DataObject) -> None:
    secret, name = data.draw(secret_texts), data.draw(names)
    value: Any = data.draw(st.sampled_from([secret, [secret], {"inner": secret}]))
    for _ in range(data.draw(st.integers(0, 3))):
        value = data.draw(st.sampled_from([{"a": value}, [1, value], {"args": value, "n": 1}]))
    whole = {
        "deep": {name: value},
        "text": f"it said {secret!r}, {json.dumps(secret)}: {secret}",
        "rest": data.draw(json_values),
    }
    assert may_hold_a_secret(json.dumps(whole).encode())
    told = json.dumps(hide_in(redact(whole), secrets_in(whole)), ensure_ascii=False)
    if secret not in json.dumps({**whole, "deep": name, "text": ""}, ensure_ascii=False):
        assert secret not in told


word_secrets = st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9_.~+-]{7,30}", fullmatch=True)


@settings(deadline=None, database=None, max_examples=200)
@given(
    word_secrets,
    names,
    st.sampled_from(["{name}={s}", "--{name} {s}", "--{name}={s}", "http://u:{s}@h/", "x?{name}={s}"]),
)
def test_a_planted_credential_is_nowhere_in_a_command(secret: str, name: str, form: str) -> None:
    words = form.format(name=name, s=secret).split()
    assert secret not in " ".join(redact_words(["serve", *words, "--port", "1"])).replace(name, "")


LONG = {"word": "a", "dashes": "a-", "colons": "a:", "schemes": "://", "names": "password ", "quotes": "password='"}


@pytest.mark.parametrize("piece", LONG)
def test_a_long_text_is_searched_in_one_pass(piece: str) -> None:
    # With quadratic work this test would not end.
    text = LONG[piece] * 500_000
    assert "@" in redact_text(text + " @")
    assert len(secrets_in(text + " @")) < 10


def test_the_quick_test_lets_ordinary_data_pass() -> None:
    for text in ("", '{"key": 1, "keys": [2], "monkey": "a b", "u": "http://h/"}', "key" * 9_000):
        assert not may_hold_a_secret(text.encode())
    assert may_hold_a_secret(b"key" * 20_000), "so many are left to the slow way"

"""Keeps credentials out of histories, reprs and errors: which fields hold credentials, and how they are replaced.

Pure, and independent of the code that writes the output.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

REDACTED = "[redacted]"
SECRET_FIELDS = frozenset(
    {
        "api_key",
        "authorization",
        "aws_access_key_id",
        "aws_secret_access_key",
        "aws_session_token",
        "azure_ad_token",
        "vertex_credentials",
    }
)
"""Argument names, at any depth, whose value is a credential."""
SHORTEST_BYTES = 6
"""A shorter secret is redacted only in its own field: replacing it in any text would also replace ordinary words."""


def redact(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Return a copy of a JSON value in which every credential is replaced by `[redacted]`."""
    if isinstance(value, dict):
        return {key: REDACTED if _is_secret(key, held) else redact(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [redact(held) for held in value]
    return value


def secrets_in(value: Any) -> set[str]:  # noqa: ANN401 - any JSON
    """Return the credentials in a JSON value, except those shorter than SHORTEST_BYTES."""
    if isinstance(value, dict):
        own = {held for key, held in value.items() if _is_secret(key, held) and isinstance(held, str)}
        inner = (secrets_in(held) for held in value.values())
        return {held for held in own if len(held) >= SHORTEST_BYTES and held != REDACTED}.union(*inner)
    if isinstance(value, list | tuple):
        return set().union(*map(secrets_in, value))
    return set()


def hide(text: str, secrets: Iterable[str]) -> str:
    """Return the text with each of `secrets` replaced, the longest first."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, REDACTED)
    return text


def hide_in(value: Any, secrets: Iterable[str]) -> Any:  # noqa: ANN401 - any JSON
    """Return a copy of a JSON value with each of `secrets` replaced in all strings, including keys."""
    if isinstance(value, str):
        return hide(value, secrets)
    if isinstance(value, dict):
        return {hide_in(key, secrets): hide_in(held, secrets) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [hide_in(held, secrets) for held in value]
    return value


def _is_secret(key: object, held: object) -> bool:
    return isinstance(key, str) and key.lower() in SECRET_FIELDS and held is not None

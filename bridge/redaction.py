"""Keeps credentials out of histories, reprs and errors: which names hold credentials, and how they are replaced.

Pure, and independent of the code that writes the output. A name is that of an argument, an HTTP header, an environment
variable, an option of a command or a parameter of a URL, however its words are joined: `api_key`, `apiKey` and
`X-Api-Key` are the same.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import quote, quote_plus

REDACTED = "[redacted]"
SHORTEST_BYTES = 6
"""A shorter secret is redacted only in its own field: replacing it in any text would also replace ordinary words."""
_WORDS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+")
_ANYWHERE = re.compile(
    r"password|passwd|passphrase|secret(?!ar)|authorization|credential|cookie|azureadtoken"
    r"|(?:api|access|private|secret|signing|encryption|account)key"
)
_AT_THE_END = re.compile(r"(?:token|pwd|passcode|jwt|bearer)$")
_HARMLESS = frozenset({"dir", "file", "path", "store", "count", "length", "limit", "type", "ttl", "expiry", "policy"})
# Each pattern begins at a boundary, so a long word is scanned only once.
_NAMED = re.compile(r"(?<![A-Za-z0-9_.-])([A-Za-z_-][A-Za-z0-9_.-]*)\\?[\"']?\s?[=:]\s?")
_HELD = re.compile(
    r"\\?\"[^\"]*\"?|\\?'[^']*'?|(?:(?:bearer|basic|token)\s+)?[^\s\"'&;,<>\\]+",
    re.IGNORECASE,
)
_BEARER = re.compile(r"\b(bearer)(\s+)([A-Za-z0-9._~+/=-]{8,})", re.IGNORECASE)
_IN_URL = re.compile(r"(?<![A-Za-z0-9+.-])([A-Za-z][A-Za-z0-9+.-]*://)([^\s/?#\"'<>:@]*)(:[^\s/?#\"'<>@]*)?@")
_QUICK = b"passw passphrase passcode secret authorization credential cookie token pwd jwt bearer".split()
_BEFORE_KEY = re.compile(rb"(?:api|access|private|signing|encryption|account)[-_. ]?$")
MOST_KEYS = 10_000


def may_hold_a_secret(data: bytes) -> bool:
    """Whether `redact` could find a credential in this text or JSON: a quick test, some nanoseconds a byte."""
    low = data.lower()
    if any(word in low for word in _QUICK) or (b"://" in low and b"@" in low):
        return True
    at = low.find(b"key")
    for _ in range(MOST_KEYS):
        if at < 0:
            return False
        if _BEFORE_KEY.search(low, max(0, at - 12), at):
            return True
        at = low.find(b"key", at + 3)
    return True


@lru_cache(maxsize=4096)
def is_secret_name(name: str) -> bool:
    """Whether a value of this name is a credential."""
    words = [word.lower() for word in _WORDS.findall(name)]
    joined = "".join(words)
    if not words or words[-1] in _HARMLESS:
        return False
    return bool(_ANYWHERE.search(joined) or _AT_THE_END.search(joined))


def redact(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Return a copy of a JSON value in which every credential is replaced by `[redacted]`, also within texts."""
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, dict):
        return {key: REDACTED if _is_secret(key, held) else redact(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return type(value)([redact(held) for held in value])
    return value


def redact_text(text: str) -> str:
    """Return the text with the credentials that its form shows: in URLs, headers, and after a name with `=` or `:`."""
    if not may_hold_a_secret(text.encode(errors="replace")):
        return text
    if "@" in text:
        text = _IN_URL.sub(_without_login, text)
    text = _BEARER.sub(rf"\1\2{REDACTED}", text)
    kept, end = [], 0
    for held in _assigned(text):
        kept += [text[end : held.start()], REDACTED]
        end = held.end()
    return "".join([*kept, text[end:]])


def _assigned(text: str) -> Iterator[re.Match[str]]:
    # The values that follow the name of a credential. The value of another name may contain such a name itself, as in
    # `error: api_key=...` or `https://host/?token=...`.
    at = 0
    while (named := _NAMED.search(text, at)) is not None:
        at = named.end()
        held = _HELD.match(text, at) if is_secret_name(named[1]) else None
        if held is not None:
            at = held.end()
            yield held


def redact_words(words: Sequence[str]) -> list[str]:
    """Return the words of a command, without the credentials in its options, variables and URLs."""
    told = [redact_command(word) if " " in word else redact_text(word) for word in words]  # a word may be a command
    for place, word in enumerate(words[:-1]):
        if word.startswith("-") and "=" not in word and is_secret_name(word):
            told[place + 1] = REDACTED
    return told


def redact_command(command: str) -> str:
    """Return a command line without its credentials; unchanged if it has none."""
    try:
        words = shlex.split(command)
    except ValueError:
        return redact_text(command)
    told = redact_words(words)
    return command if told == words else shlex.join(told)


def secrets_in(value: Any) -> set[str]:  # noqa: ANN401 - any JSON
    """Return the credentials in a JSON value, except those shorter than SHORTEST_BYTES."""
    found: set[str] = set()
    if isinstance(value, str):
        found = {part[1:] for _, user, part in _IN_URL.findall(value)} | {it[2] for it in _BEARER.findall(value)}
        found |= {held[0].strip("\\\"'") for held in _assigned(value)}
    elif isinstance(value, dict):
        for key, held in value.items():
            found |= _leaves(held) if _is_secret(key, held) else secrets_in(held)
    elif isinstance(value, list | tuple):
        found.update(*map(secrets_in, value))
    return {held for held in found if len(held) >= SHORTEST_BYTES and REDACTED not in held}


def secrets_of(environment: Mapping[str, str]) -> set[str]:
    """Return the credentials among environment variables, except those shorter than SHORTEST_BYTES."""
    return secrets_in(dict(environment))


def hide(text: str, secrets: Iterable[str]) -> str:
    """Return the text with each of `secrets` replaced, also where it is quoted for JSON, Python or a URL."""
    for form in sorted({form for secret in secrets for form in _forms(secret)}, key=len, reverse=True):
        text = text.replace(form, REDACTED)
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


@lru_cache(maxsize=1024)
def _forms(secret: str) -> tuple[str, ...]:
    quoted = (quote(secret, safe="", errors="replace"), quote_plus(secret, errors="replace"))
    return (secret, repr(secret)[1:-1], json.dumps(secret)[1:-1], *quoted)


def _leaves(value: Any) -> set[str]:  # noqa: ANN401 - any JSON
    if isinstance(value, dict):
        return set().union(*map(_leaves, value.values()))
    if isinstance(value, list | tuple):
        return set().union(*map(_leaves, value))
    return set() if value is None or isinstance(value, bool) else {str(value)}


def _without_login(found: re.Match[str]) -> str:
    scheme, user, password = found[1], found[2], found[3]
    if password is None and not scheme.lower().startswith("http"):
        return found[0]  # a mere name, as in ssh://git@host
    return f"{scheme}{REDACTED}@" if password is None else f"{scheme}{user}:{REDACTED}@"


def _is_secret(key: object, held: object) -> bool:
    return isinstance(key, str) and held is not None and is_secret_name(key)

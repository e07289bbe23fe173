"""Makes untrusted text safe, such as text from a worker, a pool, a stored file or a file's name.

Pure. One function for each medium: `one_line` for a line on a terminal or in a log, `printable` for a block of text,
HTML and XML, `escape_markdown` and `code_span` for Markdown, `json_text` for JSON. Each shows what it replaces.
Characters that are not printable are control characters (C0 and C1), bidirectional and other invisible format
characters, line separators, surrogates, and what Unicode has not assigned.
"""

from __future__ import annotations

import re
import unicodedata

SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>|~#&$])")
_NOT_ASCII = re.compile(r"[^\x20-\x7e\n]")


def one_line(text: object) -> str:
    """The text as one line, in which each character that is not printable is shown as `\\n`, `\\x1b` or `\\u202e`."""
    line = str(text)
    return line if line.isprintable() else "".join(map(_shown, line))


def printable(text: str) -> str:
    """The text with its line breaks and tabs, and with each other character that is not printable shown as `\\xNN`."""
    if text.isprintable():
        return text
    return "".join(sign if sign in "\n\t" else _shown(sign) for sign in text.replace("\r\n", "\n"))


def escape_markdown(text: object) -> str:
    """The text as one line, escaped so that Markdown and HTML show it as plain text."""
    line = one_line(" ".join(str(text).split()))
    return _MARKDOWN.sub(r"\\\1", line).replace("@", "@\u200b")


def code_span(text: object) -> str:
    """The text as a code span of Markdown, in one line."""
    return "`" + one_line(text).replace("`", "'") + "`"


def json_text(encoded: bytes) -> str:
    """The same JSON, in which strings have each character that is not printable as `\\uNNNN`."""
    text = encoded.decode()
    return text if text.isprintable() else _NOT_ASCII.sub(lambda found: _in_json(found[0]), text)


def _shown(sign: str) -> str:
    if sign.isprintable() or sign in SHORT or unicodedata.category(sign) == "Zs":
        return SHORT.get(sign, sign)
    number = ord(sign)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _in_json(sign: str) -> str:
    if sign.isprintable():
        return sign
    units = sign.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[place : place + 2].hex()}" for place in range(0, len(units), 2))

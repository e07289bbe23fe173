"""Text of others is shown in each medium as it is, and controls none of them."""

from __future__ import annotations

import json
import logging
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poolproof.bridge import CheckoutTimeout, WorkerCrashed
from poolproof.bridge.events import Event, EventKind
from poolproof.bridge.safe_text import code_span, escape_markdown, json_text, one_line, printable
from poolproof.bridge.telemetry.logs import LoggingObserver
from poolproof.migration.control import Control
from poolproof.migration.plan import Plan, Position
from poolproof.migration.shadowing.metrics import GuardrailMetrics

ATTACKS = {
    "clear the screen": "\x1b[2J\x1b[H\x1b[32mSAFE",
    "C1 control": "\x9b2JSAFE",
    "title": "\x1b]0;SAFE\x07",
    "overwrite the line": "failed\rSAFE",
    "backspace": "bad\b\b\bSAFE",
    "another line": "failed\nSAFE: v2 replacing v1",
    "another column": "failed\tSAFE",
    "next line": "failed\x85SAFE",
    "line separator": "failed\u2028SAFE\u2029SAFE",
    "right to left": "\u202eEFAS\u202c",
    "isolate": "\u2066SAFE\u2069",
    "zero width": "SA\u200bFE",
    "tag": "SAFE\U000e0041",
    "surrogate": "SAFE\udcff",
    "NUL": "SAFE\x00",
}
any_text = st.text(st.characters(codec=None))


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_one_line_that_shows_itself(attack: str) -> None:
    told = one_line(ATTACKS[attack])
    assert told.isprintable()
    assert "\\" in told
    told.encode()


DANGEROUS = {"Cc", "Cf", "Cs", "Zl", "Zp", "Cn", "Co"}


@settings(deadline=None, database=None)
@given(any_text)
def test_no_text_has_a_dangerous_character_in_its_medium(text: str) -> None:
    assert not set(map(unicodedata.category, one_line(text))) & DANGEROUS
    assert not set(map(unicodedata.category, escape_markdown(text).replace("@\u200b", ""))) & DANGEROUS
    block = printable(text)
    assert not set(map(unicodedata.category, block.replace("\n", "").replace("\t", ""))) & DANGEROUS
    assert block.count("\n") == text.count("\n")


@settings(deadline=None, database=None)
@given(st.text(st.characters(codec="utf-8")))
def test_json_keeps_its_value_and_has_no_dangerous_character(text: str) -> None:
    told = json_text(json.dumps({text: [text]}, ensure_ascii=False).encode())
    assert json.loads(told) == {text: [text]}
    assert not set(map(unicodedata.category, told)) & DANGEROUS


@given(st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S", "Zs"])))
def test_an_ordinary_text_stays_as_it_is(text: str) -> None:
    assert one_line(text) == printable(text) == text
    assert one_line("a\xa0b c — ü 漢字 😀") == "a\xa0b c — ü 漢字 😀"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("&#64;here", "\\&\\#64;here"),
        ("&lt;script&gt;", "\\&lt;script\\&gt;"),
        ("<img src=x>", "\\<img src=x\\>"),
        ("[a](b) ![c](d)", "\\[a\\](b) !\\[c\\](d)"),
        ("a|b\n# c", "a\\|b \\# c"),
        ("$x$ `y` *z* _w_ ~v~", "\\$x\\$ \\`y\\` \\*z\\* \\_w\\_ \\~v\\~"),
        ("@team", "@\u200bteam"),
        ("\x9b\u202e", "\\\\x9b\\\\u202e"),
    ],
)
def test_markdown_shows_its_signs_and_entities_as_text(text: str, told: str) -> None:
    assert escape_markdown(text) == told


def test_a_code_span_is_one_line_without_an_end_of_its_own() -> None:
    assert code_span("a`b`\n\n# c\x1b") == "`a'b'\\n\\n# c\\x1b`"


def test_an_error_shows_the_text_of_its_worker_and_keeps_the_original() -> None:
    error = WorkerCrashed("it said \x1b[2J\x9b", stderr_tail="last\x1b]0;x\x07\nwords\r\n")
    assert str(error) == "it said \\x1b[2J\\x9b\nlast lines of the worker's stderr:\nlast\\x1b]0;x\\x07\nwords\n"
    assert (error.message, error.stderr_tail) == ("it said \x1b[2J\x9b", "last\x1b]0;x\x07\nwords\r\n")
    assert "\x1b" not in str(CheckoutTimeout("late", holders=("a\x1b[2J",)))


def test_no_text_forges_a_row_of_a_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    forged = "reason\nWARNING migration: v2 to v1 by root: forged\x1b[2J"
    LoggingObserver("p")(Event(EventKind.KILL, 1, worker=1, pid=2, detail=forged))
    LoggingObserver("p")(Event(EventKind.DONE, 1, call=1, detail=forged))
    control = Control(Plan(), GuardrailMetrics(Plan().guardrails))
    control.change(Position.parse("shadow"), who=forged, why=forged)
    control.roll_back(forged, who=forged)
    assert len(caplog.records) == 4
    for record in caplog.records:
        assert record.getMessage().isprintable()
        assert "forged" in record.getMessage()

"""Differences between two texts are marked, and only they."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from poolproof.reports.evidence.marking import MOST_CHARACTERS, Marked, mark


def _text(found: Marked) -> str:
    return "".join(piece.text for piece in found)


def test_only_the_word_that_differs_is_marked() -> None:
    before, after = mark('{"value": 17, "text": "a b"}', '{"value": 18, "text": "a b"}')
    assert [piece.text for piece in before if piece.differs] == ["17"]
    assert [piece.text for piece in after if piece.differs] == ["18"]


@given(st.text(max_size=60), st.text(max_size=60))
def test_the_pieces_are_the_texts(one: str, other: str) -> None:
    before, after = mark(one, other)
    assert (_text(before), _text(after)) == (one, other)
    assert any(piece.differs for piece in (*before, *after)) == (one != other)


def test_of_a_long_text_the_place_of_the_difference_is_shown() -> None:
    one = "a" * 9000 + " x " + "b" * 9000
    before, after = mark(one, one.replace("x", "y"))
    assert [piece.text for piece in before if piece.differs] == ["x"]
    assert [piece.text for piece in after if piece.differs] == ["y"]
    assert len(_text(before)) < MOST_CHARACTERS + 100
    assert _text(before).startswith("[8921 characters] ")


def test_a_text_that_was_cut_off_is_seen_in_an_excerpt() -> None:
    before, after = mark("z" * 5000, "z" * 4999)
    assert _text(before) != _text(after)

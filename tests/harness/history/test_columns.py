"""Columns and tables: sequences of records that are none, with what a checker asks of a whole column at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from poolproof.bridge import Event, EventKind
from poolproof.harness.history.columns import (
    NONE,
    Documents,
    Earliest,
    find_last,
    last_where,
    numbered,
    order_by,
    repeated,
)
from poolproof.harness.history.gathering import GatheredDocuments, GatheredNumbers, GatheredWords, Vocabulary
from poolproof.harness.history.tables import Events, Ops, Services


def numbers(*values: int | None) -> Any:
    gathered = GatheredNumbers()
    gathered.extend(list(values))
    return gathered.column()


def words(*values: Any, vocabulary: Vocabulary | None = None) -> Any:
    gathered = GatheredWords(vocabulary)
    gathered.extend(list(values))
    return gathered.column()


def test_a_table_is_the_sequence_of_its_records(build: Any) -> None:
    ops = [build.op(0), build.op(1, 3, None, session="s", timeout_s=2.0), build.op(2, outcome="CallTimeout", worker=7)]
    table = Ops.of(ops)
    assert table == ops
    assert list(table) == ops
    assert (table[1], table[-1], len(table)) == (ops[1], ops[2], 3)
    assert table[1:] == ops[1:]
    assert table != ops[:2]
    assert table != "ops"
    with pytest.raises(IndexError):
        table[3]


@pytest.mark.parametrize("table", [Ops, Events, Services])
def test_an_empty_table_has_no_records_and_empty_columns(table: Any) -> None:
    assert list(table.of(())) == []
    assert not len(table.of(()))


def test_events_and_intervals_come_back_as_they_were(build: Any) -> None:
    events = [build.event(EventKind.KILL, 5, worker=1, detail="hung"), build.event(EventKind.DONE, 9, call=3)]
    services = [build.service(101, 1, 0, None, nonce="a"), build.service(102, 2, 3, 4)]
    assert Events.of(events) == events
    assert Services.of(services) == services


def test_rows_are_taken_by_numbers_by_a_mask_and_by_a_stretch(build: Any) -> None:
    table = Ops.of([build.op(n) for n in range(5)])
    assert [op.index for op in table.take(np.array([3, 1]))] == [3, 1]
    assert [op.index for op in table.take(table.index > 2)] == [3, 4]
    assert list(table.rows("index", "nonce", at=table.index == 4)) == [(4, "1.0.4")]
    assert [index for (index,) in table.rows("index")] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("value", [0, -1, 1 << 30, 1 << 40, -(1 << 40), 1 << 100])
def test_a_column_holds_whole_numbers_of_any_size_and_none(value: int) -> None:
    gathered = GatheredNumbers()
    gathered.extend([1, None])
    gathered.extend([value, None])
    assert gathered.column().tolist() == [1, NONE, value, NONE]
    assert Events.of([Event(EventKind.DONE, 1, value), Event(EventKind.DONE, 1)])[0].call == value


def test_numbers_beyond_64_bits_are_found_and_sorted_as_others_are() -> None:
    large = numbers(1 << 70, 3, 1 << 70, 1)
    assert repeated(large) == {1 << 70: 2}
    assert order_by(large).tolist() == [3, 1, 0, 2]
    assert find_last((numbers(1 << 70, 2),), (large,)).tolist() == [2, -1]
    assert Earliest(large, numbers(9, 8, 7, 6)).of(numbers(1 << 70, 5)).tolist() == [7, NONE]


def test_a_word_is_held_once_and_counted() -> None:
    column = words("a", None, "b", "a")
    assert column.words == ["a", None, "b"]
    assert column.are("a").tolist() == [True, False, False, True]
    assert column.are("a", None).tolist() == [True, True, False, True]
    assert not column.are("c").any()
    assert column.counts() == {"a": 2, None: 1, "b": 1}


@pytest.mark.parametrize("shared", [True, False])
def test_words_of_two_columns_are_compared_by_their_text(shared: bool) -> None:
    vocabulary = Vocabulary() if shared else None
    one = words("5", "a", vocabulary=vocabulary)
    other = words(None, 5, "a", "b", vocabulary=vocabulary)
    told = other.codes_in(one).tolist()
    assert [told[0], told[1], told[2]] == [-1, one.codes[0], one.codes[1]]
    assert told[3] not in one.codes.tolist()


def test_documents_are_text_until_they_are_looked_at() -> None:
    gathered = GatheredDocuments()
    values = [{"a": [1, None]}, "ü", 1.5, None]
    gathered.extend(values)
    column = gathered.column()
    assert isinstance(column, Documents)
    assert column.tolist() == values
    assert column[np.array([2, 0])].tolist() == [1.5, {"a": [1, None]}]
    assert [type(value) for value in column[1:3].tolist()] == [str, float]


def test_documents_of_the_same_text_are_surely_the_same() -> None:
    columns = []
    for values in ([{"a": 1}, {"value": 2}, [1, 2], 5], [{"a": 1}, {"value": 2}, [1, 3], "five"]):
        gathered = GatheredDocuments()
        gathered.extend(values)
        columns.append(gathered.column())
    assert columns[0].same_text(columns[1], without=b'"value"').tolist() == [True, False, False, False]


def test_the_last_place_where_something_holds() -> None:
    assert last_where(np.array([False, True, False, True, False])).tolist() == [-1, 1, 1, 3, 3]
    assert last_where(np.array([], dtype=bool)).tolist() == []


def test_rows_are_ordered_by_several_columns_and_equal_ones_stay() -> None:
    one, other = numbers(2, 1, 2, 1, 2), numbers(5, 9, 3, 9, 3)
    assert order_by(one, other).tolist() == [1, 3, 2, 4, 0]


def test_rows_are_equal_only_in_all_columns() -> None:
    number = numbered(numbers(1, 1, 2, 1), numbers(7, 8, 7, 7)).tolist()
    assert number[0] == number[3]
    assert len(set(number)) == 3
    keys = (numbers(1, 2, 2), numbers(7, 7, 8))
    assert find_last(keys, (numbers(1, 1, 2, 1), numbers(7, 8, 7, 7))).tolist() == [3, 2, -1]


def test_the_earliest_moment_of_each_key() -> None:
    earliest = Earliest(numbers(3, 1, 3), numbers(30, 10, 20))
    assert earliest.of(numbers(3, 2, 1)).tolist() == [20, NONE, 10]
    assert Earliest(numbers(), numbers()).of(numbers(3)).tolist() == [NONE]


def test_words_take_a_byte_each_until_they_are_many() -> None:
    few, many = GatheredWords(), GatheredWords()
    few.extend(["a", None, "b"] * 100)
    assert few.column().codes.dtype == np.uint8
    words = [str(number) for number in range(300)]
    many.extend(words[:200])
    many.extend([*words, None])
    column = many.column()
    assert column.codes.dtype == np.int32
    assert column.tolist() == [*words[:200], *words, None]
    assert few.column().codes_in(few.column()).tolist()[:3] == [0, -1, 2]
    assert few.column().codes_in(column).tolist()[:3] == [-1, -1, -1]
    some = GatheredWords()
    some.extend(["299", None])
    assert some.column().codes_in(column).tolist() == [299, -1]

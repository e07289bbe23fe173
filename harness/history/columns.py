"""Columns: one array for each field of many records, so that a million records cost bytes and not objects.

Pure. Whole numbers and seconds are numpy arrays. Words are codes of a vocabulary. Documents are JSON text that is
decoded on access. A table consists of columns, and is a sequence of its records.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import starmap
from typing import Any, ClassVar, Protocol, TypeAlias, TypeVar, overload

import msgspec
import numpy as np
from numpy.typing import NDArray

Numbers: TypeAlias = NDArray[Any]
Rows: TypeAlias = NDArray[Any] | slice
"""A selection of rows: row numbers, a mask, or a slice."""
Record = TypeVar("Record")
Own = TypeVar("Own", bound="Table[Any]")

NONE = -(1 << 31)
"""Stands for None among whole numbers; no time, pid or call number has this value."""
AT_ONCE = 4096
"""How many records are objects at the same time during an iteration over a table."""


class Column(Protocol):
    """What a table needs of a column; numpy arrays satisfy it too."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> Any: ...  # noqa: ANN401 - a value for a number, a column for rows

    def tolist(self) -> list[Any]:
        """Return the values as objects."""
        ...


class Words:
    """A column of words, which holds each word once: `codes` are indexes into `words`."""

    __slots__ = ("codes", "words")

    def __init__(self, codes: Numbers, words: Sequence[Any]) -> None:
        self.codes = codes
        self.words = words

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, rows: Rows) -> Words:
        return Words(self.codes[rows], self.words)

    def tolist(self) -> list[Any]:
        """Return the words, row by row."""
        words = self.words
        return [words[code] for code in self.codes.tolist()]

    def are(self, *wanted: object) -> NDArray[np.bool_]:
        """Return where the word is one of `wanted`."""
        chosen = [code for code, word in enumerate(self.words) if word in wanted]
        return self.codes == chosen[0] if len(chosen) == 1 else np.isin(self.codes, chosen)

    def counts(self) -> Counter[Any]:
        """Return how often each word occurs; words that do not occur are left out."""
        found = np.bincount(self.codes, minlength=len(self.words)).tolist()
        return Counter({word: count for word, count in zip(self.words, found, strict=True) if count})

    def codes_in(self, other: Words) -> Numbers:
        """Return each row's code in the other column, by the text of the word; -1 for None and words not in `other`."""
        strange = [code for code, word in enumerate(self.words) if not isinstance(word, str)]
        if self.words is other.words and all(self.words[code] is None for code in strange):
            codes = self.codes.astype(np.int32, copy=False)
            return np.where(np.isin(codes, strange), -1, codes) if strange else codes
        places = {word: code for code, word in enumerate(other.words)}
        told = [-1 if word is None else places.get(str(word), -1) for word in self.words]
        return np.array(told, dtype=np.int64)[self.codes] if told else self.codes.astype(np.int64)


class Objects:
    """A column of JSON values that are objects already."""

    __slots__ = ("_values",)

    def __init__(self, values: Sequence[Any]) -> None:
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, rows: Rows) -> Objects:
        if isinstance(rows, slice):
            return Objects(self._values[rows])
        if rows.dtype == np.bool_:
            rows = np.flatnonzero(rows)
        return Objects([self._values[row] for row in rows.tolist()])

    def tolist(self) -> list[Any]:
        """Return the values."""
        return list(self._values)

    def same_text(self, other: Objects | Documents, without: bytes) -> NDArray[np.bool_]:
        """Return False in every row: there is no text to compare."""
        return np.zeros(len(self), dtype=bool)


class Documents:
    """A column of JSON values as one piece of text; a value is decoded at each access."""

    __slots__ = ("_ends", "_starts", "_text")

    def __init__(self, text: bytearray, starts: Numbers, ends: Numbers) -> None:
        self._text = text
        self._starts = starts
        self._ends = ends

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, rows: Rows) -> Documents:
        return Documents(self._text, self._starts[rows], self._ends[rows])

    def tolist(self) -> list[Any]:
        """Return the decoded values."""
        decode, text = msgspec.json.Decoder().decode, memoryview(self._text)
        pairs = zip(self._starts.tolist(), self._ends.tolist(), strict=True)
        return [decode(text[start:end]) for start, end in pairs]

    def same_text(self, other: Objects | Documents, without: bytes) -> NDArray[np.bool_]:
        """Return where both texts are the same and do not contain `without`: there the values are equal, elsewhere
        perhaps.
        """
        if not isinstance(other, Documents):
            return np.zeros(len(self), dtype=bool)
        same: NDArray[np.bool_] = (self._ends - self._starts) == (other._ends - other._starts)
        rows = np.flatnonzero(same)
        spans = (self._starts[rows], self._ends[rows], other._starts[rows], other._ends[rows])
        mine, others = self._text, other._text
        same[rows] = [
            mine[start:end] == others[begin:until] and mine.find(without, start, end) < 0
            for start, end, begin, until in zip(*(span.tolist() for span in spans), strict=True)
        ]
        return same


class Table(Sequence[Record]):
    """Records of one type; each field of the records is a column of the same name."""

    RECORD: ClassVar[type]

    def __init__(self, **columns: Column) -> None:
        self._columns = columns
        for name, column in columns.items():
            setattr(self, name, column)

    def take(self: Own, rows: Rows) -> Own:
        """Return a table of these rows, in this order."""
        return type(self)(**{name: column[rows] for name, column in self._columns.items()})

    def replacing(self: Own, **columns: Column) -> Own:
        """Return the table with the columns of these names replaced."""
        return type(self)(**{**self._columns, **columns})

    def rows(self, *names: str, at: Rows | None = None) -> Iterator[tuple[Any, ...]]:
        """Yield the fields `names` of each record (or of the rows `at`); None for a missing value."""
        columns = [self._columns[name] for name in names]
        if at is not None and not isinstance(at, slice) and at.dtype == np.bool_:
            at = np.flatnonzero(at)
        for start in range(0, len(columns[0]) if at is None or isinstance(at, slice) else len(at), AT_ONCE):
            some = slice(start, start + AT_ONCE)
            chosen = some if at is None or isinstance(at, slice) else at[some]
            yield from zip(*(_objects(column[chosen]) for column in columns), strict=True)

    def __len__(self) -> int:
        return len(next(iter(self._columns.values())))

    def __iter__(self) -> Iterator[Record]:
        return starmap(self._make, self.rows(*self._columns))

    @overload
    def __getitem__(self, place: int) -> Record: ...

    @overload
    def __getitem__(self: Own, place: slice) -> Own: ...

    def __getitem__(self: Table[Record], place: int | slice) -> Record | Table[Record]:
        if isinstance(place, slice):
            return self.take(place)
        row = range(len(self))[place]
        return next(iter(self.take(slice(row, row + 1))))

    def __eq__(self, other: object) -> bool:
        """Compare as a sequence: a table equals any sequence of equal records."""
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(one == two for one, two in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} records)"

    def _make(self, *values: Any) -> Record:  # noqa: ANN401
        return self.RECORD(**dict(zip(self._columns, values, strict=True)))  # type: ignore[no-any-return]


def _objects(column: Column) -> list[Any]:
    values = column.tolist()
    if isinstance(column, np.ndarray) and column.size:
        if column.dtype.kind == "f":
            return [None if value != value else value for value in values]
        if (column == NONE).any():
            return [None if value == NONE else value for value in values]
    return values


def last_where(mask: NDArray[np.bool_]) -> Numbers:
    """Return for each row the last row up to it (itself included) where `mask` holds; -1 if there is none."""
    return np.maximum.accumulate(np.where(mask, np.arange(len(mask)), -1)) if len(mask) else np.empty(0, np.int64)


def order_by(*columns: Numbers) -> Numbers:
    """Return the rows sorted by the first column, then by the second, and so on; the sort is stable."""
    rows = len(columns[-1])
    order: Numbers = np.arange(rows, dtype=np.int32 if rows < 1 << 31 else np.int64)
    for column in reversed(columns):
        values = column[order]
        if len(values) > 1 and not (values[:-1] <= values[1:]).all():
            order = order[np.argsort(values, kind="stable")]
    return order


def repeated(values: Numbers) -> dict[Any, int]:
    """Return each value that occurs more than once, with its count."""
    found, counts = np.unique(values, return_counts=True)
    return dict(zip(found[counts > 1].tolist(), counts[counts > 1].tolist(), strict=True))


def numbered(*columns: Numbers) -> Numbers:
    """Return one number for each row; two rows have the same number exactly if they are equal in every column."""
    _, number = np.unique(columns[0], return_inverse=True)
    for column in columns[1:]:
        _, codes = np.unique(column, return_inverse=True)
        _, number = np.unique(number * (len(column) + 1) + codes, return_inverse=True)
    return number


def find_last(keys: Sequence[Numbers], among: Sequence[Numbers]) -> Numbers:
    """Return for each row of `keys` the last row of `among` that is equal in every column; -1 if there is none."""
    count = len(among[0])
    number = numbered(*(np.concatenate((one, other)) for one, other in zip(among, keys, strict=True)))
    last = np.full(len(number) + 1, -1, dtype=np.int64)
    last[number[:count]] = np.arange(count)
    return last[number[count:]]


def pick(values: Numbers, rows: Numbers, missing: int) -> Numbers:
    """Return the values at these rows; `missing` where the row is -1."""
    return np.where(rows >= 0, values[rows], missing) if len(values) else np.full(len(rows), missing)


class Earliest:
    """The earliest moment of each key: like a dict from keys to moments, but looked up for a whole column at once."""

    def __init__(self, keys: Numbers, moments: Numbers) -> None:
        order = order_by(keys, moments)
        keys, moments = keys[order], moments[order]
        first = np.ones(len(keys), dtype=bool)
        first[1:] = keys[1:] != keys[:-1]
        self._keys, self._moments = keys[first], moments[first]

    def of(self, keys: Numbers) -> Numbers:
        """Return the moment of each key; NONE if the key has none."""
        if not len(self._keys):
            return np.full(len(keys), NONE, dtype=np.int64)
        place = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        return np.where(self._keys[place] == keys, self._moments[place], NONE)

"""Columns that grow: records are gathered, portion by portion, into the columns of a table.

Pure. A gathered column takes as few bytes as the finished column. After `column` nothing may be added.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from itertools import islice
from operator import attrgetter
from typing import Any, Generic, Protocol

import msgspec
import numpy as np

from poolproof.harness.history.columns import AT_ONCE, NONE, Column, Documents, Numbers, Objects, Record, Words


class Gathered(Protocol):
    """A column that grows. The values in it take as few bytes as in the finished column."""

    def extend(self, values: list[Any]) -> None:
        """Add these values."""
        ...

    def column(self) -> Column:
        """Return the column of all values; nothing may be added afterwards."""
        ...


class GatheredNumbers:
    """Whole numbers or None, as narrow as possible: 32 bits, 64 bits, or any size."""

    def __init__(self, typecode: str = "i") -> None:
        self._held: array[int] | list[int] = array(typecode)

    def extend(self, values: list[int | None]) -> None:
        """Add these values."""
        numbers = [NONE if value is None else value for value in values]
        while isinstance(self._held, array):
            try:
                self._held.extend(array(self._held.typecode, numbers))
                return
            except OverflowError:
                self._held = array("q", self._held) if self._held.typecode == "i" else self._held.tolist()
        self._held += numbers

    def column(self) -> Numbers:
        """Return the column of all values."""
        if isinstance(self._held, list):
            return np.array(self._held, dtype=object)
        return np.frombuffer(self._held, dtype=self._held.typecode) if self._held else np.empty(0, np.int64)


class GatheredSeconds:
    """Floating-point numbers or None."""

    def __init__(self) -> None:
        self._held = array("d")

    def extend(self, values: list[float | None]) -> None:
        """Add these values."""
        self._held.extend([np.nan if value is None else value for value in values])

    def column(self) -> Numbers:
        """Return the column of all values."""
        return np.frombuffer(self._held) if self._held else np.empty(0)


class Vocabulary(dict[Any, int]):
    """Maps each word to its code, which is its index in `words`. Several columns may share one vocabulary."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[Any] = []

    def __missing__(self, word: object) -> int:
        code = self[word] = len(self.words)
        self.words.append(word)
        return code


class GatheredWords:
    """Words or None; pass `vocabulary` to share it between columns."""

    def __init__(self, vocabulary: Vocabulary | None = None) -> None:
        self._vocabulary = Vocabulary() if vocabulary is None else vocabulary
        self._codes = array("B")  # one byte each, as long as there are few words

    def extend(self, values: list[Any]) -> None:
        """Add these words."""
        vocabulary = self._vocabulary
        codes = [vocabulary[value] for value in values]
        if len(vocabulary.words) > 256 and self._codes.typecode == "B":
            self._codes = array("i", self._codes)
        self._codes.extend(codes)

    def column(self) -> Words:
        """Return the column of all words."""
        dtype = np.uint8 if self._codes.typecode == "B" else np.int32
        codes = np.frombuffer(self._codes, dtype=dtype) if self._codes else np.empty(0, dtype)
        return Words(codes, self._vocabulary.words)


class GatheredKinds:
    """Members of one enumeration of words; one byte each."""

    def __init__(self, kinds: type[StrEnum]) -> None:
        self._words = list(kinds)
        self._places = {kind.value: place for place, kind in enumerate(self._words)}
        self._codes = array("B")

    def extend(self, values: list[StrEnum]) -> None:
        """Add these members."""
        places = self._places
        self._codes.extend([places[value._value_] for value in values])  # hashing an enumeration member is slow

    def column(self) -> Words:
        """Return the column of all members."""
        return Words(np.frombuffer(self._codes, dtype=np.uint8) if self._codes else np.empty(0, np.uint8), self._words)


class GatheredObjects:
    """JSON values, kept as they are."""

    def __init__(self) -> None:
        self._held: list[Any] = []

    def extend(self, values: list[Any]) -> None:
        """Add these values."""
        self._held += values

    def column(self) -> Objects:
        """Return the column of all values."""
        return Objects(self._held)


class GatheredDocuments:
    """JSON values, kept as text."""

    def __init__(self) -> None:
        self._text = bytearray()
        self._ends = array("q", [0])
        self._encode_into = msgspec.json.Encoder().encode_into

    def extend(self, values: list[Any]) -> None:
        """Add these values."""
        encode_into, text, add = self._encode_into, self._text, self._ends.append
        for value in values:
            encode_into(value, text, -1)
            add(len(text))

    def column(self) -> Documents:
        """Return the column of all values."""
        ends = np.frombuffer(self._ends, dtype=np.int64)
        return Documents(self._text, ends[:-1], ends[1:])


class Gathering(Generic[Record]):
    """Turns records into columns, in portions: `columns` has one column for each field that is kept."""

    def __init__(self, columns: Mapping[str, Gathered]) -> None:
        self._columns = [(attrgetter(name), column) for name, column in columns.items()]
        self._names = tuple(columns)

    def extend(self, records: Sequence[Record]) -> None:
        """Add these records."""
        for field, column in self._columns:
            column.extend([field(record) for record in records])

    def extend_all(self, records: Iterable[Record]) -> None:
        """Add these records, portion by portion."""
        records = iter(records)
        while some := list(islice(records, AT_ONCE)):
            self.extend(some)

    def columns(self) -> dict[str, Column]:
        """Return the columns by name."""
        return {name: column.column() for name, (_, column) in zip(self._names, self._columns, strict=True)}

"""A part of the report: a title, sentences, tables and drawings. What is only sometimes there comes as one of these.

Pure data. Texts are plain and untrusted, like all of a view.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from poolproof.reports.series import Drawing


class Tone(StrEnum):
    """How a thing is to be seen. DECLARED: it fails, as somebody has said and explained before."""

    GOOD = "good"
    DECLARED = "declared"
    DOUBT = "doubt"
    BAD = "bad"
    MUTED = "muted"


class Mark(msgspec.Struct, frozen=True):
    """A word in a table with its tone."""

    text: str
    tone: Tone


class Grid(msgspec.Struct, frozen=True, kw_only=True):
    """A table. `more` counts the rows that there are beyond those shown, and says where they are."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | Mark, ...], ...]
    more: str = ""


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """One part. `key` is its anchor: small letters and hyphens."""

    key: str
    title: str
    sentences: tuple[str, ...] = ()
    drawings: tuple[Drawing, ...] = ()
    grids: tuple[Grid, ...] = ()

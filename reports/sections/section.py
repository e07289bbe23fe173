"""A section of the report: a title, sentences, drawings and tables. Optional content of a report is a section.

Pure data. Texts are plain and untrusted, as in the whole view.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from poolproof.reports.charts.drawing import Drawing


class Tone(StrEnum):
    """How a reader should judge something. DECLARED: a failure that was declared beforehand, with a reason."""

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
    """A table. `more` says how many rows were left out, and names the file that has them."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | Mark, ...], ...]
    more: str = ""


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """One section. `key` is its anchor in the page: lower-case letters and hyphens."""

    key: str
    title: str
    sentences: tuple[str, ...] = ()
    drawings: tuple[Drawing, ...] = ()
    grids: tuple[Grid, ...] = ()

"""Reads comparers from a TOML file: `poolproof compare --traffic calls.rec --comparers comparers.toml`.

ignore = ["$..created"]
unordered = ["$.items"]
exact = ["$.items[*].name"]

[[tolerance]]
path = "$.score"
relative = 0.05

[[similar_text]]
path = "$.answer"
ratio = 0.8
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path

import msgspec

from poolproof.harness.model.comparing.comparers import Comparer, exact, ignore, similar_text, tolerance, unordered
from poolproof.harness.model.errors import UsageError
from poolproof.harness.model.intended import Comparing


class Tolerance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The arguments of `tolerance`."""

    path: str = ""
    absolute: float = 0.0
    relative: float = 0.0


class SimilarText(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The arguments of `similar_text`."""

    path: str = ""
    ratio: float


class ComparersFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file. Its comparers apply in the order of these fields."""

    ignore: tuple[str, ...] = ()
    exact: tuple[str, ...] = ()
    unordered: tuple[str, ...] = ()
    tolerance: tuple[Tolerance, ...] = ()
    similar_text: tuple[SimilarText, ...] = ()

    def comparers(self) -> tuple[Comparer, ...]:
        """Build the comparers. Raises UsageError for a wrong path or number."""
        return (
            *map(ignore, self.ignore),
            *map(exact, self.exact),
            *map(unordered, self.unordered),
            *(tolerance(one.path, absolute=one.absolute, relative=one.relative) for one in self.tolerance),
            *(similar_text(one.path, ratio=one.ratio) for one in self.similar_text),
        )


def read_comparing(path: Path | None, ignored: Iterable[str] = ()) -> Comparing:
    """Build how to compare from the file, if there is one, and further paths to ignore. Raises UsageError."""
    found = ComparersFile()
    if path is not None:
        try:
            found = msgspec.convert(tomllib.loads(path.read_text()), type=ComparersFile)
        except OSError as error:
            raise UsageError(f"--comparers {path}: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
            raise UsageError(f"--comparers {path}: {error}") from error
    return Comparing(comparers=(*map(ignore, ignored), *found.comparers()))

"""Comparers ready to use: each says, for the values at some JSON paths, when two of them count as equal.

Pure. `Comparing(comparers=(ignore("$..created"), unordered("$.items")))` takes any number of them. For each pair of
values the first comparer decides that covers their path and their types; values without one are compared by type and
value. A path begins with `$`, the answer as a whole (of a command error: its text). `.name` or `["any name"]` is a
field, `.*` any field, `[*]` any element of a list, and `..name` the field at any depth. An empty path is any value.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from functools import cache, lru_cache
from typing import Any

import msgspec

from poolproof.harness.history.equality import same_json
from poolproof.harness.model.errors import UsageError

LONGEST_TOLD = 80
PLAIN_NAME = re.compile(r"[\w-]+")
STEP = re.compile(
    r'(?P<deep>\.\.)?(?:(?P<each>\[\*\])|(?P<quoted>\["(?:[^"\\]|\\.)*"\])|(?P<dot>\.?)(?P<name>\*|[\w-]+))'
)
ANY_FIELD = r'(?:\.[\w-]+|\["(?:[^"\\]|\\.)*"\])'

Same = Callable[[Any, Any], bool]


class Comparer(msgspec.Struct, frozen=True):
    """Compares the values at a path, and finds equal values equal.

    `equal` gets both values and a function that compares elements of theirs; it returns None for values of other types
    than its own. `left_out` removes the values from both answers.
    """

    path: str
    equal: Callable[[Any, Any, Same], bool | None]
    left_out: bool = False

    def __post_init__(self) -> None:
        _pattern(self.path)

    def covers(self, path: str) -> bool:
        """Return whether the comparer is for the values at this path."""
        return not self.path or _covers(self.path, path)


def exact(path: str = "") -> Comparer:
    """Equal in type and value, whatever a later comparer says."""
    return Comparer(path, lambda one, other, _same: same_json(one, other))


def ignore(path: str) -> Comparer:
    """The values at the path are not compared, and may be missing."""
    return Comparer(path, lambda _one, _other, _same: True, left_out=True)


def unordered(path: str = "") -> Comparer:
    """Two lists are equal if each element has its own equal element in the other list, in whatever order."""

    def equal(one: Any, other: Any, same: Same) -> bool | None:  # noqa: ANN401 - any JSON
        if not (isinstance(one, list) and isinstance(other, list)):
            return None
        return len(one) == len(other) and None not in match_elements(one, other, same)

    return Comparer(path, equal)


def tolerance(path: str = "", *, absolute: float = 0.0, relative: float = 0.0) -> Comparer:
    """Two numbers are equal if they differ by at most `absolute`, or by `relative` times the larger one."""
    if not (absolute >= 0 and relative >= 0 and math.isfinite(absolute + relative)):
        raise UsageError(f"a tolerance of {absolute:g} and {relative:g}: must not be negative")

    def equal(one: Any, other: Any, _same: Same) -> bool | None:  # noqa: ANN401
        numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (one, other))
        return math.isclose(one, other, rel_tol=relative, abs_tol=absolute) if numbers else None

    return Comparer(path, equal)


def similar_text(path: str = "", *, ratio: float) -> Comparer:
    """Two texts are equal if difflib's ratio of them, from 0 to 1, is at least `ratio`."""
    if not 0 <= ratio <= 1:
        raise UsageError(f"a ratio of {ratio:g}: must be a number from 0 to 1")

    def equal(one: Any, other: Any, _same: Same) -> bool | None:  # noqa: ANN401
        if not (isinstance(one, str) and isinstance(other, str)):
            return None
        return one == other or SequenceMatcher(None, one, other, autojunk=False).ratio() >= ratio

    return Comparer(path, equal)


def compare_by(path: str, function: Callable[[Any, Any], bool]) -> Comparer:
    """Two values are equal if your function of both returns true."""
    return Comparer(path, lambda one, other, _same: bool(function(one, other)))


def decide(comparers: Sequence[Comparer], path: str, one: Any, other: Any, same: Same) -> bool | None:  # noqa: ANN401
    """Return what the first comparer for these values says, or None if there is none."""
    for comparer in comparers:
        if comparer.covers(path) and (equal := comparer.equal(one, other, same)) is not None:
            return equal
    return None


def leave_out(value: Any, comparers: Sequence[Comparer], path: str = "$") -> Any:  # noqa: ANN401
    """Return the value without what a comparer ignores; None if that is the value itself."""
    ignoring = [comparer for comparer in comparers if comparer.left_out]
    if not ignoring:
        return value
    return None if _is_left_out(ignoring, path) else _left(value, ignoring, path)


def find_unequal(one: Any, other: Any, comparers: Sequence[Comparer], path: str = "$") -> str:  # noqa: ANN401
    """Return the first difference of two values, as a sentence with its path; an empty string if there is none."""

    def same(element: Any, counterpart: Any) -> bool:  # noqa: ANN401
        return not find_unequal(element, counterpart, comparers, f"{path}[*]")

    told = f"at {path}: {short(one)} became {short(other)}"
    if (equal := decide(comparers, path, one, other, same)) is not None:
        return "" if equal else told
    if isinstance(one, dict) and isinstance(other, dict):
        if odd := sorted(one.keys() ^ other.keys()):
            return f"{field(path, odd[0])} is {'missing' if odd[0] in one else 'new'}"
        inner = (find_unequal(value, other[key], comparers, field(path, key)) for key, value in one.items())
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        inner = (find_unequal(*pair, comparers, f"{path}[*]") for pair in zip(one, other, strict=True))
    else:
        return "" if same_json(one, other) else told
    return next(filter(None, inner), "")


def match_elements(few: Sequence[Any], many: Sequence[Any], same: Same) -> list[int | None]:
    """Give as many elements of `few` as possible an own element of `many` that is the same. Returns its index each."""
    owner: dict[int, int] = {}
    is_same = cache(lambda element, place: same(few[element], many[place]))

    def find_place(element: int, tried: set[int]) -> bool:
        for place in range(len(many)):
            if place in tried or not is_same(element, place):
                continue
            tried.add(place)
            if place not in owner or find_place(owner[place], tried):
                owner[place] = element
                return True
        return False

    for element in range(len(few)):
        find_place(element, set())
    places = {element: place for place, element in owner.items()}
    return [places.get(element) for element in range(len(few))]


@lru_cache(maxsize=65_536)
def field(path: str, key: str) -> str:
    """Return the path of a field of the object at `path`."""
    return f"{path}.{key}" if PLAIN_NAME.fullmatch(key) else f"{path}[{json.dumps(key)}]"


def short(value: object) -> str:
    """Return a value as text of at most LONGEST_TOLD characters."""
    text = repr(value)
    return text if len(text) <= LONGEST_TOLD else f"{text[: LONGEST_TOLD - 3]}…"


def _left(value: Any, ignoring: Sequence[Comparer], path: str) -> Any:  # noqa: ANN401
    if isinstance(value, dict):
        paths = {key: field(path, key) for key in value}
        return {k: _left(v, ignoring, paths[k]) for k, v in value.items() if not _is_left_out(ignoring, paths[k])}
    if isinstance(value, list):
        inner = f"{path}[*]"
        return [] if _is_left_out(ignoring, inner) else [_left(element, ignoring, inner) for element in value]
    return value


def _is_left_out(ignoring: Sequence[Comparer], path: str) -> bool:
    return any(comparer.covers(path) for comparer in ignoring)


@lru_cache(maxsize=65_536)
def _covers(pattern: str, path: str) -> bool:
    return _pattern(pattern).fullmatch(path) is not None


@lru_cache(maxsize=1024)
def _pattern(text: str) -> re.Pattern[str]:
    # The regular expression for the paths that `field` makes.
    parts, at = [r"\$"], 1
    while at < len(text):
        step = STEP.match(text, at)
        if step is None or (step["name"] and bool(step["dot"]) == bool(step["deep"])):
            break
        quoted = json.loads(step["quoted"][1:-1]) if step["quoted"] else step["name"]
        inner = (
            r"\[\*\]" if step["each"] else ANY_FIELD if quoted == "*" and step["name"] else re.escape(field("", quoted))
        )
        parts.append((".*" if step["deep"] else "") + inner)
        at = step.end()
    if at < len(text) or (text and text[0] != "$"):
        raise UsageError(f"{text!r} is not a path such as $.usage.created, $.items[*].id or $..created")
    return re.compile("".join(parts), re.DOTALL)

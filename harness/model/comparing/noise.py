"""What varies in the baseline's own answers, by JSON path, and what of another answer exceeds that. Pure: JSON in.

Two answers to the same call are `observe`d: each path at which they differ, and how. `Noise` collects this for all
calls of a command. `find_excess` then compares an answer of the candidate with one of the baseline, and returns only
what the noise does not explain. Elements of a list share the path `[*]`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from poolproof.harness.history.equality import same_json
from poolproof.harness.model.comparing.comparers import ANY_FIELD, Comparer, decide, field, match_elements, short

MOST_MATCHED = 16
"""The longest list whose unequal elements are matched by what differs least; in a longer one they keep their order."""
MARGIN = 3.0
"""A number may leave the range that the baseline showed by so many times the width of that range."""

STEPS = re.compile(rf"{ANY_FIELD}|\.\*|\[\*\]")
TYPE_NAMES = {type(None): "null", bool: "boolean", str: "text", dict: "object", list: "list"}

MOST_FIELDS = 16
"""If more fields than this come and go in an object, their names are data."""
PLAIN = frozenset({type(None), bool, int, str})


class Kind(StrEnum):
    """In which way a path varies."""

    VALUE = "value"
    TEXT = "text"
    NUMBER = "number"
    TYPE = "type"
    ORDER = "order"
    ELEMENTS = "elements"
    PRESENCE = "presence"
    NAMES = "names"


KINDS = {"number": Kind.NUMBER, "text": Kind.TEXT}
FREE = frozenset({Kind.VALUE, Kind.TEXT, Kind.NUMBER, Kind.TYPE, Kind.ELEMENTS, Kind.NAMES})
"""If a path varies in one of these ways, its value is not compared."""


class Seen(NamedTuple):
    """One difference of two answers.

    For a field that is missing in one of them, `one` is whether the first answer has it, `other` the field's value, and
    `parent` the path of the object.
    """

    path: str
    kind: Kind
    one: Any = None
    other: Any = None
    parent: str = ""


class Excess(NamedTuple):
    """A difference that the noise does not explain."""

    path: str
    text: str


class PathNoise:
    """How one path varies: the kinds, the types (if the type varies), the range of its numbers, and in which calls."""

    def __init__(self, kinds: Iterable[Kind] = ()) -> None:
        self.kinds = set(kinds)
        self.types: set[str] = set()
        self.low, self.high = float("inf"), float("-inf")
        self.calls: set[int] = set()

    def is_far(self, value: Any) -> bool:  # noqa: ANN401 - any JSON
        """Return whether a number is far outside of the range."""
        if type_name(value) != "number" or self.low > self.high:
            return False
        margin = MARGIN * (self.high - self.low)
        return not self.low - margin <= _finite(value) <= self.high + margin

    def widen(self, value: float) -> None:
        """Make the range contain a number."""
        self.low, self.high = min(self.low, _finite(value)), max(self.high, _finite(value))


class Noise:
    """The noise of one command. Call `add` for each pair of the baseline's answers, and `settle` after the last one."""

    def __init__(self) -> None:
        self.paths: dict[str, PathNoise] = {}
        self._parents: dict[str, str] = {}
        self._leaves: dict[str, set[str]] = {}
        self._data: dict[str, str] = {}
        self._known: dict[str, str] = {}

    def add(self, call: int, seen: Sequence[Seen]) -> None:
        """Add what differs in a pair of answers to the same call."""
        for one in seen:
            noise = self.paths.setdefault(one.path, PathNoise())
            noise.kinds.add(one.kind)
            noise.calls.add(call)
            if one.kind is Kind.PRESENCE:
                self._parents[one.path] = one.parent
                self._leaves.setdefault(one.path, set()).update(leaves(one.other, one.path))
            elif one.kind is Kind.TYPE:
                noise.types |= {type_name(one.one), type_name(one.other)}
            elif one.kind is Kind.NUMBER:
                noise.widen(one.one)
                noise.widen(one.other)

    def settle(self) -> None:
        """Treat as one path, `.*`, the fields whose names are data.

        These are the fields that come and go in an object, if they are many or several of them came in one call only.
        Nothing is known of their values, only of their form.
        """
        fields: dict[str, list[str]] = {}
        for path, parent in self._parents.items():
            fields.setdefault(parent, []).append(path)
        for parent, paths in fields.items():
            if len(paths) > MOST_FIELDS or sum(len(self.paths[path].calls) == 1 for path in paths) > 1:
                self._data |= dict.fromkeys(paths, f"{parent}.*")
                self.paths.setdefault(parent, PathNoise()).kinds.add(Kind.NAMES)
        raw, self.paths = self.paths, {}
        for path, noise in raw.items():
            if path in self._data:
                noise.kinds.discard(Kind.PRESENCE)
                self._merge(self._parents[path], PathNoise(), noise.calls)
                for leaf in self._leaves[path]:
                    self._merge(leaf, PathNoise({Kind.VALUE}), set())
            if noise.kinds:
                self._merge(path, noise, noise.calls)

    def general(self, path: str) -> str:
        """Return the path with `.*` for names that are data."""
        if not self._data:
            return path
        if path not in self._known:
            at = "$"
            for step in STEPS.findall(path):
                at = self._data.get(at + step, at + step)
            self._known[path] = at
        return self._known[path]

    def at(self, path: str) -> PathNoise | None:
        """Return how a path varies; None if it does not."""
        return self.paths.get(self.general(path))

    def kinds(self, path: str) -> set[Kind]:
        """Return in which ways a path varies; an empty set if it does not."""
        found = self.at(path)
        return set() if found is None else found.kinds

    def place(self, seen: Seen) -> str:
        """Return the path at which a difference counts."""
        is_name = seen.kind is Kind.PRESENCE and Kind.NAMES in self.kinds(seen.parent)
        return self.general(seen.parent if is_name else seen.path)

    def explains(self, seen: Seen) -> bool:
        """Return whether a difference is no more than the baseline has shown."""
        found = self.at(seen.path)
        kinds = set() if found is None else found.kinds
        if seen.kind in (Kind.ORDER, Kind.ELEMENTS):
            return seen.kind in kinds
        if seen.kind is Kind.PRESENCE:
            return Kind.PRESENCE in kinds or Kind.NAMES in self.kinds(seen.parent)
        if found is not None and type_name(seen.other) in found.types:
            return True
        return seen.kind is not Kind.TYPE and bool(kinds & {Kind.VALUE, Kind.TEXT, Kind.NUMBER})

    def _merge(self, path: str, noise: PathNoise, calls: set[int]) -> None:
        into = self.paths.setdefault(self.general(path), PathNoise())
        into.kinds |= noise.kinds
        into.types |= noise.types
        into.calls |= calls
        into.low, into.high = min(into.low, noise.low), max(into.high, noise.high)


def observe(one: Any, other: Any, comparers: Sequence[Comparer] = (), path: str = "$") -> list[Seen]:  # noqa: ANN401
    """Return each difference of two values that the comparers do not accept.

    Elements of lists are matched so that they differ in few places.
    """
    differs = _observe_here(one, other, comparers, path)
    if differs is not None:
        return differs
    if isinstance(one, dict):
        found = _missing(one, other, path)
        for before, after, inner in _fields(one, other, path):
            found += observe(before, after, comparers, inner)
        return found
    each = f"{path}[*]"
    places = _closest(one, other)
    found = [seen for index, place in places for seen in observe(one[index], other[place], comparers, each)]
    if any(place != index for index, place in places) and (len(one) == len(other) or not _is_rising(places)):
        found.append(Seen(path, Kind.ORDER, one, other))
    if len(one) == len(other):
        return found
    # Which elements there are varies, so nothing is known of their values, only of their form.
    found.append(Seen(path, Kind.ELEMENTS, one, other))
    found += [Seen(leaf, Kind.VALUE) for leaf in {leaf for value in (*one, *other) for leaf in leaves(value, each)}]
    for few, many, at in ((one, other, 0), (other, one, 1)):
        taken = {place[at] for place in places}
        for index, element in enumerate(few[:MOST_MATCHED]):
            if index not in taken:
                found += [seen for value in many[:MOST_MATCHED] for seen in observe(element, value, comparers, each)]
    return found


def find_excess(
    one: Any,  # noqa: ANN401
    other: Any,  # noqa: ANN401
    noise: Noise,
    comparers: Sequence[Comparer] = (),
    path: str = "$",
) -> Iterator[Excess]:
    """Yield each difference of the second value that the noise does not explain."""
    differs = _observe_here(one, other, comparers, path)
    if differs is not None:
        yield from (_tell(seen) for seen in differs if not noise.explains(seen))
        return
    if isinstance(one, dict):
        yield from (_tell(seen) for seen in _missing(one, other, path) if not noise.explains(seen))
        for before, after, inner in _fields(one, other, path):
            yield from find_excess(before, after, noise, comparers, inner)
        return
    kinds, each = noise.kinds(path), f"{path}[*]"
    if len(one) != len(other) and Kind.ELEMENTS not in kinds:
        yield Excess(path, f"{path} has {len(other)} elements, not {len(one)}")
    elif not kinds & {Kind.ORDER, Kind.ELEMENTS}:
        for pair in zip(one, other, strict=True):
            yield from find_excess(*pair, noise, comparers, each)
    else:
        few, many, swapped = (one, other, False) if len(one) <= len(other) else (other, one, True)

        def same(element: Any, counterpart: Any) -> bool:  # noqa: ANN401
            pair = (counterpart, element) if swapped else (element, counterpart)
            return next(find_excess(*pair, noise, comparers, each), None) is None

        for element, place in zip(few, match_elements(few, many, same), strict=True):
            if place is None:
                yield Excess(path, f"{path}: {short(element)} has no counterpart, in whatever order")


def leaves(value: Any, path: str = "$") -> Iterator[str]:  # noqa: ANN401
    """Yield the path of each value that is no object or list with contents."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from leaves(inner, field(path, key))
    elif isinstance(value, list) and value:
        for inner in value:
            yield from leaves(inner, f"{path}[*]")
    else:
        yield path


def type_name(value: Any) -> str:  # noqa: ANN401
    """Return the JSON type of a value; integers and floats are both numbers."""
    return TYPE_NAMES.get(type(value), "number")


def sign_test(more: int, less: int) -> float:
    """Return the exact one-sided P of at least `more` among `more + less` fair coins."""
    if more <= less:
        return 1.0
    n = more + less
    term = total = 1
    for k in range(less):
        term = term * (n - k) // (k + 1)
        total += term
    return total / (1 << n)


def _observe_here(one: Any, other: Any, comparers: Sequence[Comparer], path: str) -> list[Seen] | None:  # noqa: ANN401
    # None if the values are two objects or two lists, whose contents are to be compared.
    if comparers:

        def same(element: Any, counterpart: Any) -> bool:  # noqa: ANN401
            return not observe(element, counterpart, comparers, f"{path}[*]")

        if (equal := decide(comparers, path, one, other, same)) is not None:
            kind = _kind(one, other)
            return [] if equal else [Seen(path, kind, one, other)]
    if type(one) is type(other) and isinstance(one, dict | list):
        return None
    return [] if same_json(one, other) else [Seen(path, _kind(one, other), one, other)]


def _kind(one: Any, other: Any) -> Kind:  # noqa: ANN401
    name = type_name(one)
    if name != type_name(other):
        return Kind.TYPE
    return KINDS.get(name, Kind.VALUE)


def _fields(one: dict[str, Any], other: dict[str, Any], path: str) -> Iterator[tuple[Any, Any, str]]:
    # The fields that both objects have, but for scalars that are plainly equal.
    for key, value in one.items():
        if key in other and not (type(value) is type(other[key]) and type(value) in PLAIN and value == other[key]):
            yield value, other[key], field(path, key)


def _missing(one: dict[str, Any], other: dict[str, Any], path: str) -> list[Seen]:
    if one.keys() == other.keys():
        return []
    odd = sorted(one.keys() ^ other.keys())
    return [Seen(field(path, key), Kind.PRESENCE, key in one, (one if key in one else other)[key], path) for key in odd]


def _closest(one: list[Any], other: list[Any]) -> list[tuple[int, int]]:
    # Pairs of indexes, one for each element of the shorter list. Equal elements come together, and then those that
    # differ least; all keep their places if that makes no more differences.
    in_place = [(index, index) for index in range(min(len(one), len(other)))]
    cost = sum(_distance(one[index], other[index]) for index, _ in in_place)
    if not cost:
        return in_place
    pairs = _find_equal(one, other) if max(len(one), len(other)) > MOST_MATCHED else []
    rest, free = (set(range(len(values))) - {pair[at] for pair in pairs} for at, values in ((0, one), (1, other)))
    if max(len(rest), len(free)) > MOST_MATCHED:
        pairs += zip(sorted(rest), sorted(free), strict=False)
    else:
        for _cost, _move, index, place in sorted(
            (_distance(one[index], other[place]), abs(index - place), index, place) for index in rest for place in free
        ):
            if index in rest and place in free:
                pairs.append((index, place))
                rest.remove(index)
                free.remove(place)
    return pairs if sum(_distance(one[index], other[place]) for index, place in pairs) < cost else in_place


def _find_equal(one: list[Any], other: list[Any]) -> list[tuple[int, int]]:
    left: dict[str, list[int]] = {}
    for place in reversed(range(len(other))):
        left.setdefault(json.dumps(other[place], sort_keys=True), []).append(place)
    keys = [json.dumps(element, sort_keys=True) for element in one]
    return [(index, left[key].pop()) for index, key in enumerate(keys) if left.get(key)]


def _distance(one: Any, other: Any) -> int:  # noqa: ANN401
    # A quick measure of how much two elements differ: 0 for equal ones, more for each field that differs.
    if one == other:
        return 0
    if isinstance(one, dict) and isinstance(other, dict):
        return 1 + sum(1 for key, value in one.items() if key not in other or value != other[key])
    return 1 if type(one) is type(other) else 2


def _is_rising(places: Sequence[tuple[int, int]]) -> bool:
    ordered = [place for _index, place in sorted(places)]
    return ordered == sorted(ordered)


def _tell(seen: Seen) -> Excess:
    if seen.kind is Kind.PRESENCE:
        return Excess(seen.path, f"{seen.path} is {'missing' if seen.one else 'new'}")
    return Excess(seen.path, f"{seen.path}: {short(seen.one)} became {short(seen.other)}")


def _finite(value: float) -> float:
    # An int may be too large for a float.
    try:
        number = float(value)
    except OverflowError:
        number = math.inf if value > 0 else -math.inf
    return min(max(number, -1e300), 1e300)

"""Draws mutations: the same ones for the same seed and the same sources, whatever a run has executed.

Pure: randomness is seeded. Operators and packages take turns, so that rare operators and small packages get mutants
too.
"""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from poolproof.harness.mutation.operators.places import OPERATORS, Place, find_places

PACKAGES = ("pool_v2", "bridge", "pool_v1", "migration")
"""The packages that are mutated, in the order in which they take turns."""


def all_places(texts: Mapping[str, str]) -> list[Place]:
    """The mutations of all these files, by file and line."""
    return [place for file in sorted(texts) for place in find_places(file, texts[file])]


def draw(places: Sequence[Place], seed: int) -> Iterator[Place]:
    """Yield the mutations in a random order, at most one for each operator and statement."""
    chance = random.Random(seed)
    groups: defaultdict[tuple[str, str], list[Place]] = defaultdict(list)
    for place in places:
        groups[place.operator, place.package].append(place)
    turns: list[Iterator[Place]] = []
    for number, operator in enumerate(sorted(OPERATORS, key=lambda _: chance.random())):
        queues = []
        for package in PACKAGES:
            group = groups[operator, package]
            chance.shuffle(group)
            queues.append(iter(group))
        first = number % len(PACKAGES)  # each operator begins with another package
        turns.append(_take_turns(queues[first:] + queues[:first]))
    seen: set[tuple[str, str, int]] = set()
    for place in _take_turns(turns):
        name = place.operator, place.file, place.line
        if name not in seen:
            seen.add(name)
            yield place


def _take_turns(turns: list[Iterator[Place]]) -> Iterator[Place]:
    while turns:
        left = []
        for turn in turns:
            for place in turn:
                yield place
                left.append(turn)
                break
        turns = left


def digest(texts: Mapping[str, str]) -> str:
    """A name for this version of the sources."""
    whole = hashlib.sha256()
    for file in sorted(texts):
        whole.update(f"{file}\0{len(texts[file])}\0".encode() + texts[file].encode())
    return whole.hexdigest()[:16]

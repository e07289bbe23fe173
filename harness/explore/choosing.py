"""Chooses generated runs for a pool: the numbers of the scenarios, and for each run the face and the observer.

Pure. The same seed and pool give the same choice.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from random import Random
from types import MappingProxyType

import msgspec

from poolproof.bridge import Capability
from poolproof.harness.explore.generated import NAME, generated_name, generated_scenario
from poolproof.harness.model.face import EXECUTE
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.run.request import Request, Subject, why_skipped

MOST_TRIED = 20
"""How many numbers are tried for each run, for a pool that can carry out few of the generated scenarios."""
TASKS = ("asyncio", "uvloop")
"""Faces whose clients record an answer later than the loop that has it. A session that wanders may be repeated on
another worker in between, and the journals cannot tell that from a request that was sent twice."""
EXPLORED = {"smoke": 4, "quick": 25, "full": 300}
"""How many generated runs a comparison makes, by its profile."""
EXECUTE_FIRST = 1 / 3
"""The share of runs that call `execute` itself; every scenario of the catalogue does so too."""
WATCHED = 0.35
"""The share of runs that are observed, of those through a face other than `execute` that tells of its calls."""
SPAN = 100_000
"""How many numbers belong to each seed."""


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """One generated run: its scenario, and the request with face and observer."""

    scenario: Scenario
    request: Request


def choose_runs(
    count: int, subject: Subject, request: Request, *, baseline: Subject | None = None, first: Iterable[str] = ()
) -> list[Chosen]:
    """Choose `count` runs for the request's seed; scenarios named in `first`, found wrong before, are additional."""
    used: Counter[str] = Counter()

    def choose(name: str) -> Chosen | None:
        run = _run_of(name, subject, request, baseline, used)
        used.update([] if run is None else [run.request.face])
        return run

    chosen = [run for name in first if NAME.fullmatch(name) and (run := choose(name))]
    numbers = range(request.seed * SPAN, request.seed * SPAN + min(count * MOST_TRIED, SPAN))
    runs = (choose(generated_name(number)) for number in numbers)
    return chosen + list(itertools.islice((run for run in runs if run is not None), count))


def _run_of(
    name: str, subject: Subject, request: Request, baseline: Subject | None, used: Mapping[str, int]
) -> Chosen | None:
    scenario = generated_scenario(name)
    if scenario is None:
        return None
    wanders = scenario.config.get("session_affinity", "strict") != "strict"
    for face, observed in ways_of(name, subject, together="max_requests" in scenario.config, used=used):
        if wanders and face.startswith(TASKS):
            continue
        asked = msgspec.structs.replace(
            request, face=face, observed=observed, baseline="" if baseline is None else baseline.name
        )
        if not why_skipped(scenario, subject, asked, baseline):
            return Chosen(scenario=scenario, request=asked)
    return None


def ways_of(
    name: str, subject: Subject, *, together: bool = False, used: Mapping[str, int] = MappingProxyType({})
) -> Iterator[tuple[str, bool]]:
    """Yield face and observed of this scenario in random order; a third of all runs call `execute` first.

    The other faces come in the order of how often each was `used` before. With `together`, of those that were used
    equally often, the faces that send calls together come first.
    """
    choice = Random(f"way/{name}")
    faces = [face for face in subject.faces if face.name != EXECUTE.name]
    choice.shuffle(faces)
    faces.sort(key=lambda face: (used.get(face.name, 0), together and not face.batches))
    others = [face.name for face in faces]
    seen = Capability.EVENTS in subject.capabilities
    telling = {face.name for face in subject.faces if face.tells and seen}
    watched = Random(f"watched/{name}").random() < WATCHED  # apart, so that other choices stay what they are
    plain = [(EXECUTE.name, False), (EXECUTE.name, True)]
    choice.shuffle(plain)
    parts: list[list[tuple[str, bool]]] = [plain, [(face, watched and face in telling) for face in others]]
    if choice.random() >= EXECUTE_FIRST:
        parts.reverse()
    yield from itertools.chain(*parts)

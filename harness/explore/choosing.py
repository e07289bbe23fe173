"""Chooses generated runs for a pool: the numbers of the scenarios, and for each run the face and the observer.

Pure. The same seed and pool give the same choice.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from random import Random

import msgspec

from poolproof.bridge import Capability
from poolproof.harness.explore.generated import NAME, generated_name, generated_scenario
from poolproof.harness.model.face import EXECUTE
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.run.request import Request, Subject, why_skipped

MOST_TRIED = 20
"""How many numbers are tried for each run, for a pool that can carry out few of the generated scenarios."""
TASKS = ("asyncio", "uvloop")
"""Faces whose clients record an answer some time after the loop has received it. Meanwhile a session may be repeated on
another worker, and the journals cannot tell that from a request that was sent twice."""
EXPLORED = {"smoke": 4, "quick": 25, "full": 300}
"""How many generated runs a comparison makes, by its profile."""
EXECUTE_FIRST = 1 / 3
"""The share of runs that call `execute` itself; every scenario of the catalogue does so too."""
NARROW = 0.3
"""A face that can carry out a smaller share of the scenarios than this has its first run before `execute` has one."""
MOST_SURVEYED = 50
WATCHED = 0.35
"""The share of runs that are observed, among the runs through faces other than `execute` that report events."""
SPAN = 100_000
"""How many numbers belong to each seed."""


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """One generated run: its scenario, and the request with face and observer."""

    scenario: Scenario
    request: Request


def choose_runs(
    count: int, subject: Subject, request: Request, *, baseline: Subject | None = None, first: Iterable[str] = ()
) -> list[Chosen]:
    """Choose `count` runs for the request's seed, in addition to the scenarios in `first`, which failed earlier."""
    begin = request.seed * SPAN
    chooser = _Chooser(subject, request, baseline)
    chooser.survey(range(begin, begin + min(count, MOST_SURVEYED)))
    chosen = [run for name in first if NAME.fullmatch(name) and (run := chooser.run_of(name))]
    numbers = range(begin, begin + min(count * MOST_TRIED, SPAN))
    runs = (chooser.run_of(generated_name(number)) for number in numbers)
    return chosen + list(itertools.islice((run for run in runs if run is not None), count))


class _Chooser:
    """Spreads runs over the faces. A face that can carry out few of the scenarios is preferred where it can.

    A scenario with a limit of requests prefers faces that send calls together, since each of these counts.
    """

    def __init__(self, subject: Subject, request: Request, baseline: Subject | None) -> None:
        self._subject = subject
        self._request = request
        self._baseline = baseline
        self._used: Counter[str] = Counter()
        self._able: Counter[str] = Counter()
        self._narrow: set[str] = set()

    def survey(self, numbers: range) -> None:
        """Count how many of these scenarios each face can carry out."""
        for number in numbers:
            scenario = generated_scenario(generated_name(number))
            if scenario is not None:
                self._able.update({way.face for way in self._possible(scenario)})
        self._narrow = {face for face, able in self._able.items() if able < NARROW * len(numbers)}

    def run_of(self, name: str) -> Chosen | None:
        """Return the run of this scenario; None if the pool cannot carry it out."""
        scenario = generated_scenario(name)
        if scenario is None:
            return None
        ways = list(self._possible(scenario))
        if not ways:
            return None
        request = ways[0]
        if request.face != EXECUTE.name or any(not self._used[way.face] for way in ways if way.face in self._narrow):
            together = "max_requests" in scenario.config
            alone = {face.name for face in self._subject.faces if together and not face.batches}
            others = [way for way in ways if way.face != EXECUTE.name]
            request = min(others, key=lambda way: (self._used[way.face], way.face in alone, self._able[way.face]))
        self._used[request.face] += 1
        return Chosen(scenario=scenario, request=request)

    def _possible(self, scenario: Scenario) -> Iterator[Request]:
        wanders = scenario.config.get("session_affinity", "strict") != "strict"
        other = "" if self._baseline is None else self._baseline.name
        for face, observed in ways_of(scenario.name, self._subject):
            asked = msgspec.structs.replace(self._request, face=face, observed=observed, baseline=other)
            strays = wanders and face.startswith(TASKS)
            if not strays and not why_skipped(scenario, self._subject, asked, self._baseline):
                yield asked


def ways_of(name: str, subject: Subject) -> Iterator[tuple[str, bool]]:
    """Yield face and observed of this scenario in random order; a third of all runs call `execute` first."""
    choice = Random(f"way/{name}")
    others = [face.name for face in subject.faces if face.name != EXECUTE.name]
    choice.shuffle(others)
    seen = Capability.EVENTS in subject.capabilities
    telling = {face.name for face in subject.faces if face.tells and seen}
    watched = Random(f"watched/{name}").random() < WATCHED  # apart, so that other choices stay what they are
    plain = [(EXECUTE.name, False), (EXECUTE.name, True)]
    choice.shuffle(plain)
    parts: list[list[tuple[str, bool]]] = [plain, [(face, watched and face in telling) for face in others]]
    if choice.random() >= EXECUTE_FIRST:
        parts.reverse()
    yield from itertools.chain(*parts)

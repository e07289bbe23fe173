"""The conformance kit: one line adds a test for every scenario, on your own pool, to your test suite. Entry point.

    from poolproof.harness.pytest_plugin.conformance import conformance_tests
    test_my_pool = conformance_tests("my_package.pools:make")

Each scenario is one test. It is skipped, with the reason, if the pool lacks what the scenario needs.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import msgspec
import pytest

from poolproof.bridge import Capability
from poolproof.harness.checkers import CORE
from poolproof.harness.compare.catalogue import find_scenarios
from poolproof.harness.compare.comparison import RunResult
from poolproof.harness.model.errors import UsageError
from poolproof.harness.model.intended import IntendedDifference, KnownFailure, not_seen
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.model.workload import Size
from poolproof.harness.pytest_plugin.collection import raise_unless_passed
from poolproof.harness.run.runner import Request, Subject, run
from poolproof.harness.subjects.pools import as_subject, find_pool

SCALES = {"quick": 1.0, "full": 3.0}
CORE_NAMES = frozenset(checker.name for checker in CORE)


class NotSeen(UserWarning):
    """A declared failure did not occur."""


class Undecided(UserWarning):
    """Checkers were left out, or could not decide this scenario, because the pool reports no events."""


def conformance_tests(
    pool: object,
    *,
    scenarios: Sequence[str | Scenario] = (),
    known: Sequence[KnownFailure] = (),
    seed: int = 1,
    workers: int = 4,
    clients: int = 8,
    profile: str = "quick",
) -> Callable[[Scenario, Path], None]:
    """A test function with one item for each scenario; bind it to a name that begins with `test`.

    `pool` is a name as for `--pool`, a Subject, or a factory `(config, observer) -> Pool`. `scenarios` are names, files
    or Scenario objects; if empty, all scenarios of the profile. Raises UsageError if a scenario or the profile does not
    exist.
    """
    if profile not in SCALES:
        raise UsageError(f"profile {profile!r}: must be one of {', '.join(SCALES)}")
    chosen = _choose(scenarios, profile)
    name = pool if isinstance(pool, str) else _name_of(pool)
    strangers = [entry.scenario for entry in known if entry.scenario not in {scenario.name for scenario in chosen}]
    if strangers:
        raise UsageError(
            f"a known failure of {name} names the scenario {strangers[0]!r}, which is not one of the chosen scenarios"
        )
    size = Size(workers=workers, clients=clients, scale=SCALES[profile])
    request = Request(seed=seed, size=size, profile=profile)

    @cache
    def subject() -> Subject:
        return find_pool(pool) if isinstance(pool, str) else as_subject(pool, name)

    prepared = [_declare(scenario, name, known) for scenario in chosen]

    @pytest.mark.parametrize("scenario", [pytest.param(scenario, id=scenario.name) for scenario in prepared])
    def test_conformance(scenario: Scenario, tmp_path: Path) -> None:
        result = run(scenario, subject(), request, tmp_path)
        judge_item(scenario, result, tells=Capability.EVENTS in subject().capabilities)

    return test_conformance


def judge_item(scenario: Scenario, result: RunResult, *, tells: bool) -> None:
    """Raise pytest's skip or xfail, or ScenarioFailed, if the result is not a pass. `tells`: the pool reports events.

    An undecided result is a failure, unless the cause is a pool without events. In that case an undecided checker of
    the scenario itself makes it a skip, and an undecided checker that every scenario has makes it a warning.
    """
    if not result.skipped:
        today = datetime.now(UTC).date().isoformat()
        failed = {found.checker for found in result.findings if found.verdict is Verdict.FAIL}
        for sentence in not_seen(
            scenario.intended_differences, result.pool, failed, scenario=scenario.name, today=today
        ):
            warnings.warn(NotSeen(sentence), stacklevel=2)
        if result.not_asked:
            names = ", ".join(f"{checker} (needs {evidence})" for checker, evidence in result.not_asked)
            warnings.warn(Undecided(f"{scenario.name}: not asked of this pool: {names}"), stacklevel=2)
        open_ones = [found for found in result.findings if found.verdict is Verdict.UNKNOWN]
        if open_ones and not tells and not result.trouble:
            told = "; ".join(f"{found.checker}: {found.claim}" for found in open_ones)
            decided = tuple(found for found in result.findings if found.verdict is not Verdict.UNKNOWN)
            own = [found for found in open_ones if found.checker not in CORE_NAMES]
            if not failed and (own or not decided):
                pytest.skip(f"cannot be decided, because the pool {result.pool} reports no events: {told}")
            warnings.warn(Undecided(f"{scenario.name}: {told}"), stacklevel=2)
            verdict = Verdict.FAIL if failed else Verdict.PASS
            result = msgspec.structs.replace(result, findings=decided, verdict=verdict)
    raise_unless_passed(scenario, result)


def _choose(wanted: Sequence[str | Scenario], profile: str) -> list[Scenario]:
    if not wanted:
        return find_scenarios([], profile=profile)
    found: dict[str, Scenario] = {}
    for one in wanted:
        for scenario in [one] if isinstance(one, Scenario) else find_scenarios([one]):
            found[scenario.name] = scenario
    return list(found.values())


def _name_of(pool: object) -> str:
    # The pool's name on the command line, so that a finding's replay command works.
    qualified = str(getattr(pool, "__qualname__", ""))
    if qualified and "<" not in qualified:
        return f"{getattr(pool, '__module__', '')}:{qualified}"
    return str(getattr(pool, "name", None) or qualified or type(pool).__name__)


def _declare(scenario: Scenario, pool: str, known: Sequence[KnownFailure]) -> Scenario:
    entries = tuple(
        IntendedDifference(pool=pool, checker=entry.checker, reason=entry.reason, until=entry.until)
        for entry in known
        if entry.scenario == scenario.name
    )
    return msgspec.structs.replace(scenario, intended_differences=(*scenario.intended_differences, *entries))


__all__ = ["KnownFailure", "NotSeen", "Undecided", "conformance_tests", "judge_item"]

"""The end of a pytest session: checks that no result is missing, compares the pools, writes the report. Entry point.

Knows nothing of pytest's objects. A missing result fails the session; it is never ignored.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from poolproof.harness.compare.assembling import assemble, describe_machine
from poolproof.harness.compare.catalogue import find_scenarios
from poolproof.harness.compare.compare import measure_speeds
from poolproof.harness.compare.comparison import Comparison, RunResult
from poolproof.harness.model.errors import HarnessError
from poolproof.harness.model.intended import not_seen
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.verdict import Decision, Verdict
from poolproof.harness.pytest_plugin.ledger import Ledger, Planned, reconcile
from poolproof.harness.run.runner import Request, Subject
from poolproof.reports import FORMATS, publish, view_with_extras, write_reports


class Silence:
    """A progress listener that does nothing."""

    def planned(self, total: int) -> None:
        """Do nothing."""

    def began(self, what: str) -> None:
        """Do nothing."""

    def ended(self, what: str, outcome: str) -> None:
        """Do nothing."""


def finish(
    ledger: Ledger,
    *,
    outcomes: Mapping[str, frozenset[str]],
    subjects: Sequence[Subject],
    request: Request,
    scenarios: Mapping[tuple[str, str], Scenario],
    stopped: bool,
    measure: bool,
    formats: Sequence[str] | None = None,
) -> tuple[list[str], bool]:
    """The lines of the summary, and whether the session has failed for a reason that no item has reported.

    `scenarios` are those that this process has collected, by file and name; others are loaded from their files.
    `stopped`: the session was ended early, so missing results are no failure. `formats` are the formats of
    poolproof.reports.FORMATS to write, all if None.
    """
    planned, received = ledger.planned(), ledger.received()
    problems = [] if stopped else reconcile(planned, received, outcomes)
    lines = [f"missing: {problem}" for problem in problems]
    failed = bool(problems)
    try:
        known = _load(planned, scenarios)
        if len(subjects) == 1:
            lines += [f"warning: {sentence}" for sentence in _not_seen(planned, received, known)]
        for candidate in subjects[1:]:
            pair = (subjects[0], candidate)
            compared = _both(planned, received, pair, request.seed)
            if not compared:
                continue
            folder = ledger.folder if len(subjects) == 2 else ledger.folder / f"{pair[0].name}-{candidate.name}"
            comparison = _compare(compared, known, pair, request, measure=measure)
            failed = failed or comparison.decision is Decision.UNSAFE
            lines.append(f"{comparison.decision.value}: {comparison.candidate} replacing {comparison.baseline}")
            if comparison.decision is not Decision.SAFE:
                lines += [f"  - {reason}" for reason in comparison.reasons]
            lines += [f"  warning: {warning}" for warning in comparison.warnings]
            written = write_reports(comparison, folder, formats or FORMATS)
            lines.append(f"report: {written.get('html') or next(iter(written.values()))}")
            publish(view_with_extras(comparison, folder), os.environ, sys.stderr)
    except HarnessError as error:
        lines.append(f"no report: {error}")
        failed = True
    return lines, failed


def _not_seen(
    planned: Mapping[str, Planned], received: Mapping[str, RunResult], known: Mapping[str, Scenario]
) -> list[str]:
    today = datetime.now(UTC).date().isoformat()
    told = []
    for node, result in received.items():
        if node in planned and not result.skipped:
            scenario = known[planned[node].scenario]
            failed = {found.checker for found in result.findings if found.verdict is Verdict.FAIL}
            told += not_seen(scenario.intended_differences, result.pool, failed, scenario=scenario.name, today=today)
    return told


def _load(planned: Mapping[str, Planned], scenarios: Mapping[tuple[str, str], Scenario]) -> dict[str, Scenario]:
    found = {name: scenario for (_, name), scenario in scenarios.items()}
    for item in planned.values():
        if item.scenario not in found:
            found |= {scenario.name: scenario for scenario in find_scenarios([item.file])}
    return found


def _both(
    planned: Mapping[str, Planned], received: Mapping[str, RunResult], pair: tuple[Subject, Subject], seed: int
) -> dict[tuple[str, int], RunResult]:
    # The results of the scenarios that were planned on both pools; a missing one is a result with trouble.
    by_name: dict[tuple[str, str], RunResult] = {}
    for node, item in planned.items():
        by_name[item.scenario, item.pool] = received.get(node) or RunResult(
            scenario=item.scenario,
            pool=item.pool,
            seed=seed,
            verdict=Verdict.UNKNOWN,
            trouble="the scenario was not run to its end",
        )
    names = dict.fromkeys(name for name, _ in by_name)
    return {
        (name, side): by_name[name, subject.name]
        for name in names
        if all((name, subject.name) in by_name for subject in pair)
        for side, subject in enumerate(pair)
    }


def _compare(
    results: Mapping[tuple[str, int], RunResult],
    known: Mapping[str, Scenario],
    pair: tuple[Subject, Subject],
    request: Request,
    *,
    measure: bool,
) -> Comparison:
    load = os.getloadavg()[0]
    scenarios = [known[name] for name in dict.fromkeys(name for name, _ in results)]
    speeds, troubles = measure_speeds(scenarios, *pair, request, progress=Silence()) if measure else ((), ())
    comparison = assemble(
        scenarios,
        results,
        (pair[0].name, pair[1].name),
        request,
        speeds=speeds,
        troubles=troubles,
        machine=describe_machine(load),
        duration_s=sum(result.duration_s for result in results.values()),
        command="pytest",
    )
    if not speeds:
        note = (
            "no speed was measured, so the decision says nothing about speed; --poolproof-speed measures it "
            "after all tests"
        )
        comparison = msgspec.structs.replace(comparison, warnings=(*comparison.warnings, note))
    return comparison

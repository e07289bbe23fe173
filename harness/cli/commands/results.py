"""Prints the results of runs on stdout, and decides their exit code."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from poolproof.harness.cli.commands.options import OF_VERDICT
from poolproof.harness.cli.output import Terminal, say_json, warn
from poolproof.harness.cli.terminal import show_result
from poolproof.harness.compare.catalogue import all_scenarios
from poolproof.harness.compare.comparison import RunResult
from poolproof.harness.model.intended import find_excuse, not_seen
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.verdict import Verdict, worst


def show_results(results: Sequence[RunResult], scenarios: dict[str, Scenario], *, as_json: bool) -> int:
    """Print the results, or one JSON array of them, and return the exit code. Declared failures do not count."""
    verdicts = []
    console = Terminal()
    today = datetime.now(UTC).date().isoformat()
    for result in results:
        scenario = scenarios.get(result.scenario) or all_scenarios().get(result.scenario)
        entries = () if scenario is None else scenario.intended_differences
        excuses = {
            found.checker: find_excuse(entries, {result.pool}, found.checker, today=today) for found in result.findings
        }
        declared = {checker: excuse.reason for checker, excuse in excuses.items() if excuse.reason}
        notes = [f"{checker}: {excuse.ran_out}" for checker, excuse in excuses.items() if excuse.ran_out]
        if not result.skipped:
            failed = {found.checker for found in result.findings if found.verdict is Verdict.FAIL}
            failed |= set(result.unasked)  # a checker that did not run could not show a difference
            notes += not_seen(entries, result.pool, failed, scenario=result.scenario, today=today)
        verdict = result.verdict
        if verdict is Verdict.FAIL and not result.trouble:
            verdict = worst(
                f.verdict for f in result.findings if f.verdict is not Verdict.FAIL or f.checker not in declared
            )
        verdicts.append(verdict)
        if not as_json:
            show_result(console, result, declared, notes)
        else:
            warn(*(f"warning: {note}" for note in notes))
    if as_json:
        say_json(list(results))
    return OF_VERDICT[worst(verdicts)]

"""Shows run results on stdout, and what exit code they make."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import msgspec
from rich.console import Console

from harness.catalogue import all_scenarios
from harness.commands.options import OF_VERDICT
from harness.comparison import RunResult
from harness.scenario import Scenario
from harness.terminal import show_result
from harness.verdict import Verdict, worst


def show_results(results: Sequence[RunResult], scenarios: dict[str, Scenario], *, as_json: bool) -> int:
    """Print the results, or all of them as one JSON array; the exit code. What was declared is no failure."""
    verdicts = []
    console = Console()
    for result in results:
        scenario = scenarios.get(result.scenario) or all_scenarios().get(result.scenario)
        declared = {
            found.checker: reason.reason
            for found in result.findings
            if scenario is not None and (reason := scenario.intended(result.pool, found.checker)) is not None
        }
        verdict = result.verdict
        if verdict is Verdict.FAIL and not result.trouble:
            verdict = worst(
                f.verdict for f in result.findings if f.verdict is not Verdict.FAIL or f.checker not in declared
            )
        verdicts.append(verdict)
        if not as_json:
            show_result(console, result, declared)
    if as_json:
        sys.stdout.write(msgspec.json.encode(list(results)).decode() + "\n")
    return OF_VERDICT[worst(verdicts)]

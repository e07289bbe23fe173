"""Judges a run of a mutant against the same run of the unmutated pool.

Pure. A finding accuses the mutant only if the unmutated pool does not have it too.
"""

from __future__ import annotations

from poolproof.harness.compare.comparison import RunResult, ScenarioComparison
from poolproof.harness.model.intended import ANSWERS
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.mutation.generated.hunted import Outcome

TOO_LONG = ("the run took longer than", "was over before")
"""Parts of the message (`trouble`) of a run that did not end in time."""


def judge_run(scenario: Scenario, result: RunResult, good: RunResult) -> tuple[Outcome, str]:
    """Return the outcome for the mutant that the run shows, and why; `good` is a run of the unmutated pool."""
    way = f"{result.scenario} on {result.made_in}"
    doubtful = {found.checker for found in good.findings if found.verdict is not Verdict.PASS}
    for found in result.findings:
        new = found.checker not in doubtful and scenario.intended(good.pool, found.checker) is None
        if found.verdict is Verdict.FAIL and new and not good.trouble:
            return Outcome.KILLED, f"{way}: {found.checker}: {found.claim}"
    if result.trouble and not good.trouble:
        late = any(words in result.trouble for words in TOO_LONG)
        return (Outcome.TIMEOUT if late else Outcome.UNDECIDED), f"{way}: {result.trouble}"
    for found in result.findings:
        if found.verdict is Verdict.UNKNOWN and found.checker not in doubtful:
            return Outcome.UNDECIDED, f"{way}: {found.checker} cannot tell: {found.claim}"
    if result.skipped and not good.skipped:
        return Outcome.UNDECIDED, f"{way}: it was skipped: {result.skipped}"
    return Outcome.SURVIVED, ""


def judge_answers(row: ScenarioComparison, good: ScenarioComparison) -> tuple[Outcome, str]:
    """Return the outcome that the differences of answers show; `good` is the comparison of the unmutated pools."""
    if any(found.kind == ANSWERS and not found.reason for found in good.differences):
        return Outcome.SURVIVED, ""
    for found in row.differences:
        if found.kind == ANSWERS and not found.reason:
            return Outcome.KILLED, f"{row.name}: {found.text}"
    return Outcome.SURVIVED, ""

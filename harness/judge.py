"""Decides whether the candidate may replace the baseline, from what both did in the same scenarios.

Pure. Whatever is not known for certain is never SAFE: a failure of the candidate that the baseline does not share, or a
difference that nobody declared, is UNSAFE; what could not be decided is INCONCLUSIVE.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from harness.comparison import Difference, RunResult, ScenarioComparison, Speed
from harness.equality import VOLATILE, same_json, without
from harness.history import History, Op
from harness.scenario import Scenario
from harness.verdict import Decision, Verdict

VERBATIM_COMMANDS = frozenset({"echo"})
"""Their answers are what was sent, so no field of them is volatile."""

MARGIN = 0.05
"""How much throughput the candidate may lose and still be no worse."""


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """How many operations were set side by side, and a sentence for each whose answers differ."""

    compared: int = 0
    differences: tuple[str, ...] = ()


def compare_answers(baseline: History, candidate: History) -> Answers:
    """Set the answers of both pools side by side, op by op.

    Answers are results and command errors; an operation that one pool did not answer is compared by its outcome.
    """
    others = {op.index: op for op in candidate.ops}
    compared = 0
    told = []
    for op in baseline.ops:
        other = others.get(op.index)
        if other is None or other.command != op.command:
            told.append(f"operation {op.index} ({op.command}) was not made on both pools")
            continue
        compared += 1
        if op.outcome != other.outcome:
            told.append(f"operation {op.index} ({op.command}): {op.outcome} became {other.outcome}")
        elif op.outcome == "result" and not same_json(_lasting(op), _lasting(other)):
            told.append(f"operation {op.index} ({op.command}): {_short(op.value)} became {_short(other.value)}")
        elif op.outcome == "CommandError" and op.error != other.error:
            told.append(f"operation {op.index} ({op.command}): the error {op.error!r} became {other.error!r}")
    known = {op.index for op in baseline.ops}
    told += [
        f"operation {op.index} ({op.command}) was not made on both pools"
        for op in candidate.ops
        if op.index not in known
    ]
    return Answers(compared=compared, differences=tuple(told))


def compare_scenario(
    scenario: Scenario, baseline: RunResult, candidate: RunResult, answers: Answers
) -> ScenarioComparison:
    """What differs between the two pools in one scenario, with the reasons that were declared."""
    differences = []
    for result in (baseline, candidate):
        for found in result.findings:
            if found.verdict is Verdict.FAIL:
                declared = scenario.intended(result.pool, found.checker)
                differences.append(
                    Difference(
                        kind="finding",
                        pool=result.pool,
                        checker=found.checker,
                        text=found.claim,
                        reason="" if declared is None else declared.reason,
                    )
                )
    if answers.differences:
        declared = scenario.intended(baseline.pool, "answers") or scenario.intended(candidate.pool, "answers")
        text = f"{len(answers.differences)} of {answers.compared} answers differ: {answers.differences[0]}"
        differences.append(
            Difference(
                kind="answers",
                pool=baseline.pool if declared is None else declared.pool,
                checker="answers",
                text=text,
                reason="" if declared is None else declared.reason,
            )
        )
    return ScenarioComparison(
        name=scenario.name,
        file=scenario.file,
        summary=scenario.summary,
        failures=scenario.failures,
        guarantees=scenario.guarantees,
        baseline=baseline,
        candidate=candidate,
        differences=tuple(differences),
        answers_compared=answers.compared,
    )


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """A decision with its reasons, the most important first; warnings do not change it."""

    decision: Decision
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]


def judge(
    scenarios: Sequence[Scenario],
    compared: Sequence[ScenarioComparison],
    *,
    speeds: Sequence[Speed] = (),
    troubles: Sequence[str] = (),
) -> Judgement:
    """The decision over all scenarios and measured speeds; `troubles` are measurements that failed.

    The candidate is too slow if the whole interval of its throughput ratio lies below 1 − MARGIN.
    """
    unsafe: list[str] = []
    unknown: list[str] = list(troubles)
    for speed in speeds:
        if speed.high < 1 - MARGIN:
            unsafe.append(f"{speed.scenario}: the candidate has {speed.ratio:.2f} times the baseline's {speed.metric}")
        elif speed.low < 1 - MARGIN:
            unknown.append(
                f"{speed.scenario}: the {speed.metric} ratio lies between {speed.low:.2f} and {speed.high:.2f}, "
                f"so a loss of {MARGIN:.0%} cannot be excluded"
            )
    warnings: list[str] = []
    case: list[str] = []
    for scenario, row in zip(scenarios, compared, strict=True):
        unsafe += _dangers(row)
        unknown += _gaps(row)
        case += [
            f"{d.pool} fails {row.name} as declared: {d.reason}"
            for d in row.differences
            if d.reason and d.pool == row.baseline.pool
        ]
        warnings += _unseen(scenario, row)
        if row.baseline.skipped and row.candidate.skipped:
            warnings.append(f"{row.name} was not run: {row.candidate.skipped}")
    judged = [row for row in compared if not (row.baseline.skipped and row.candidate.skipped)]
    if not judged:
        unknown.append("no scenario was run on both pools")
    if unsafe:
        return Judgement(decision=Decision.UNSAFE, reasons=(*unsafe, *unknown), warnings=tuple(warnings))
    if unknown:
        return Judgement(decision=Decision.INCONCLUSIVE, reasons=tuple(unknown), warnings=tuple(warnings))
    candidate = judged[0].candidate.pool
    operations = sum(row.answers_compared for row in judged)
    good = [f"{candidate} passes each of {len(judged)} scenarios"]
    if any(row.candidate.verdict is Verdict.FAIL for row in judged):
        good = [
            f"{candidate} fails nothing in {len(judged)} scenarios that {judged[0].baseline.pool} does not fail too"
        ]
    good += [
        f"{speed.scenario}: {speed.ratio:.2f} times the {speed.metric} "
        f"(95 % interval {speed.low:.2f} to {speed.high:.2f})"
        for speed in speeds
    ]
    if operations:
        good.append(f"{operations} operations were compared between the pools; no undeclared answer differs")
    return Judgement(decision=Decision.SAFE, reasons=(*good, *dict.fromkeys(case)), warnings=tuple(warnings))


def _dangers(row: ScenarioComparison) -> list[str]:
    told = []
    baseline_fails = {d.checker for d in row.differences if d.kind == "finding" and d.pool == row.baseline.pool}
    for difference in row.differences:
        if difference.reason:
            # A reason excuses the pool that is to be replaced; its successor may have no weakness that it had not.
            of_candidate = difference.kind == "finding" and difference.pool == row.candidate.pool
            if of_candidate and difference.checker not in baseline_fails:
                told.append(
                    f"{row.name}: {difference.pool} fails {difference.checker}, which {row.baseline.pool} passes: "
                    f"{difference.reason}"
                )
        elif difference.kind == "answers":
            told.append(f"{row.name}: an undeclared difference in answers: {difference.text}")
        elif difference.pool == row.candidate.pool:
            told.append(f"{row.name}: {difference.pool} fails {difference.checker}: {difference.text}")
        else:
            told.append(f"{row.name}: {difference.pool} fails {difference.checker}, undeclared: {difference.text}")
    return told


def _gaps(row: ScenarioComparison) -> list[str]:
    told = []
    if bool(row.baseline.skipped) != bool(row.candidate.skipped):
        skipped = row.baseline if row.baseline.skipped else row.candidate
        told.append(f"{row.name} was run on one pool only: {skipped.skipped}")
    for result in (row.baseline, row.candidate):
        if result.skipped:
            continue
        if result.trouble:
            told.append(f"{row.name} on {result.pool}: {result.trouble}")
        told += [
            f"{row.name} on {result.pool}: {found.checker} cannot tell: {found.claim}"
            for found in result.findings
            if found.verdict is Verdict.UNKNOWN
        ]
        if not result.findings and not result.trouble:
            told.append(f"{row.name} on {result.pool}: nothing was checked")
    return told


def _unseen(scenario: Scenario, row: ScenarioComparison) -> list[str]:
    ran = {result.pool for result in (row.baseline, row.candidate) if not result.skipped}
    seen = {(difference.pool, difference.checker) for difference in row.differences}
    return [
        f"{row.name}: {declared.pool} was declared to fail {declared.checker}, and did not"
        for declared in scenario.intended_differences
        if declared.pool in ran and (declared.pool, declared.checker) not in seen and declared.checker != "answers"
    ]


def _lasting(op: Op) -> object:
    return op.value if op.command in VERBATIM_COMMANDS else without(op.value, VOLATILE)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"

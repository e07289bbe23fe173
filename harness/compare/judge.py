"""Decides whether the candidate may replace the baseline, from what both did in the same scenarios.

Pure. Uncertainty is never SAFE: a failure of the candidate that the baseline does not share, or an undeclared
difference, is UNSAFE; what could not be decided is INCONCLUSIVE.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from poolproof.harness.compare.cells import describe_configuration, describe_workload
from poolproof.harness.compare.comparison import Difference, RunResult, ScenarioComparison, Speed
from poolproof.harness.compare.differential import Answers, OpDifference
from poolproof.harness.compare.not_asked import NotAsked
from poolproof.harness.compare.power import power
from poolproof.harness.compare.undecided import collect
from poolproof.harness.model.checker import MAX_EXAMPLES
from poolproof.harness.model.intended import (
    ANSWERS,
    BASELINE,
    DEFAULT_BASELINE,
    IntendedDifference,
    excuse_answer,
    find_excuse,
    not_seen,
    resolved,
    told_end,
)
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.verdict import Decision, Verdict


class Beside(msgspec.Struct, frozen=True, kw_only=True):
    """The compared answers of two runs of one pool: its main run, and another run."""

    one: RunResult
    other: RunResult
    answers: Answers


def compare_scenario(
    scenario: Scenario,
    baseline: RunResult,
    candidate: RunResult,
    answers: Answers,
    *,
    more: tuple[Sequence[RunResult], Sequence[RunResult]] = ((), ()),
    beside: Sequence[Beside] = (),
    today: str,
) -> ScenarioComparison:
    """Return the differences between the two pools in one scenario, with the reasons valid on `today` (as 2026-12-31).

    `more` are further runs of the baseline and of the candidate, and `beside` compares their answers with those of the
    main run.
    """
    entries = resolved(scenario.intended_differences, baseline.pool)
    # Of a pool other than v1 nobody has said that it is as weak as a serial pool may be.
    awaited = [
        entry
        for entry, plain in zip(entries, scenario.intended_differences, strict=True)
        if plain.pool != BASELINE or baseline.pool == DEFAULT_BASELINE
    ]
    differences = []
    not_seen_here: list[str] = []
    for runs in ((baseline, *more[0]), (candidate, *more[1])):
        failed: set[str] = set()
        for result in runs:
            for found in result.findings:
                if found.verdict is not Verdict.FAIL:
                    continue
                failed.add(found.checker)
                excuse = find_excuse(entries, {result.pool}, found.checker, today=today)
                differences.append(
                    Difference(
                        kind="finding",
                        pool=result.pool,
                        checker=found.checker,
                        text=found.claim,
                        reason=excuse.reason,
                        ran_out=excuse.ran_out,
                        made_in=result.made_in,
                    )
                )
        if not runs[0].skipped:
            not_seen_here += not_seen(awaited, runs[0].pool, failed, scenario=scenario.name, today=today)
    told, unseen = _judge_answers(scenario, baseline.pool, (baseline.pool, candidate.pool), answers, today)
    for pair in beside:
        between = f"{pair.one.made_in} and {pair.other.made_in}"
        told += _judge_answers(scenario, baseline.pool, (pair.other.pool,), pair.answers, today, between=between)[0]
    return ScenarioComparison(
        name=scenario.name,
        file=scenario.file,
        summary=scenario.summary,
        failures=scenario.failures,
        guarantees=scenario.guarantees,
        baseline=baseline,
        candidate=candidate,
        differences=(*differences, *told),
        answers_compared=answers.compared,
        answers_ignored=answers.ignored,
        undecided=(*answers.undecided, *(sentence for pair in beside for sentence in pair.answers.undecided)),
        not_seen=tuple(dict.fromkeys((*not_seen_here, *unseen))),
        workload=describe_workload(scenario),
        configuration=describe_configuration(scenario),
        baseline_more=tuple(more[0]),
        candidate_more=tuple(more[1]),
    )


def _share(differing: int, compared: int) -> str:
    # What one pool did not answer differs by its outcome, and is not among the answers that were compared.
    return f"{differing} of {compared} answers" if differing <= compared else f"{differing} outcomes"


def _judge_answers(
    scenario: Scenario, baseline: str, pools: tuple[str, ...], answers: Answers, today: str, *, between: str = ""
) -> tuple[list[Difference], list[str]]:
    # One difference for each entry that excuses operations, and one for the operations that nothing excuses.
    entries = resolved(scenario.intended_differences, baseline)
    groups: dict[tuple[IntendedDifference | None, str], list[OpDifference]] = {}
    for op in answers.differences:
        excuse = excuse_answer(entries, pools, op.label, op.kind, today=today)
        groups.setdefault((excuse.entry, excuse.ran_out), []).append(op)
    where = f" between {between}" if between else ""
    told = [
        Difference(
            kind=ANSWERS,
            pool=pools[0] if entry is None else entry.pool,
            checker=ANSWERS,
            text=f"{_share(len(ops), answers.compared)} differ{where}: {ops[0].text}",
            reason="" if entry is None else entry.reason,
            ran_out=ran_out,
            examples=tuple(op.text for op in ops[:MAX_EXAMPLES]),
            made_in=between,
        )
        for (entry, ran_out), ops in groups.items()
    ]
    unseen = [
        f"{scenario.name}: {entry.pool} was declared to give different answers"
        f"{f' where the label is {entry.label!r}' if entry.label else ''}{f' in {entry.kind}' if entry.kind else ''}"
        f", but gave none{told_end(entry, today)}"
        for entry, plain in zip(entries, scenario.intended_differences, strict=True)
        if entry.checker == ANSWERS
        and (plain.pool != BASELINE or baseline == DEFAULT_BASELINE)
        and entry.pool in pools
        and answers.compared
        and not any(entry.covers(op.label, op.kind) for op in answers.differences)
    ]
    return told, unseen


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """A decision with its reasons, the most important first; warnings do not change it."""

    decision: Decision
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]
    not_asked: tuple[str, ...] = ()


def judge(
    compared: Sequence[ScenarioComparison],
    *,
    speeds: Sequence[Speed] = (),
    troubles: Sequence[str] = (),
    explored: Sequence[RunResult] = (),
    total: int | None = None,
) -> Judgement:
    """Decide over all scenarios, generated runs and measured speeds; `troubles` are measurements that failed, and
    `total` is how many scenarios there are, of which these are a part.

    The candidate is too slow if the whole interval of its throughput ratio lies below its margin.
    """
    unsafe: list[str] = []
    unknown: list[str] = list(troubles)
    for result in explored:
        unsafe += [
            f"{result.scenario}: {result.made_in} fails {found.checker}: {found.claim}; {found.examples[0]}"
            if found.examples
            else f"{result.scenario}: {result.made_in} fails {found.checker}: {found.claim}"
            for found in result.findings
            if found.verdict is Verdict.FAIL
        ]
        if result.trouble:
            unknown.append(f"{result.scenario} on {result.made_in}: {result.trouble}")
    warnings: list[str] = []
    case: list[str] = []
    not_asked = NotAsked()
    for row in compared:
        unsafe += _dangers(row)
        unknown += _gaps(row)
        not_asked.add(row)
        case += [
            f"{d.pool} fails {row.name}, as declared beforehand: {d.reason}"
            for d in row.differences
            if d.reason and d.pool == row.baseline.pool
        ]
        warnings += row.not_seen
        if row.baseline.skipped and row.candidate.skipped and not (row.baseline.blind and row.candidate.blind):
            warnings.append(f"{row.name} was not run: {row.candidate.skipped}")
    for speed in speeds:
        unsafe += [f"wrong answer while the speed was measured: {sentence}" for sentence in speed.wrong]
        if speed.wrong:
            continue
        if speed.too_slow:
            unsafe.append(
                f"{speed.scenario}: the candidate reaches only {speed.ratio:.2f} times the baseline's {speed.metric}"
            )
        elif not speed.fast_enough:
            unknown.append(
                f"{speed.scenario}: the ratio of the candidate's {speed.metric} to the baseline's lies between "
                f"{speed.low:.2f} and {speed.high:.2f}, "
                f"so a loss of {speed.allowed:.0%} cannot be excluded"
            )
    unknown = collect(unknown)
    judged = [row for row in compared if not any(run.skipped and run.blind for run in (row.baseline, row.candidate))]
    judged = [row for row in judged if not (row.baseline.skipped and row.candidate.skipped)]
    if not judged:
        unknown.append("no scenario was run on both pools")
    told = {"warnings": tuple(warnings), "not_asked": not_asked.sentences()}
    if unsafe:
        return Judgement(decision=Decision.UNSAFE, reasons=(*unsafe, *unknown), **told)
    if unknown:
        return Judgement(decision=Decision.INCONCLUSIVE, reasons=tuple(unknown), **told)
    candidate = judged[0].candidate.pool
    operations = sum(row.answers_compared for row in judged)
    count = len(judged)
    whole = f"all {count} scenarios" if count != 1 else "the one scenario that was run"
    if count < (total or count):
        whole = f"{count} of {total} scenarios; only {'this one' if count == 1 else 'these'} ran"
    good = [f"{candidate} passes {whole}"]
    runs = [result for row in judged for result in row.all_runs if result.pool == candidate and not result.skipped]
    faces = {result.face for result in runs}
    if len(runs) > count:
        good[0] += (
            f", in {len(runs)} runs: without an observer (as shipped)"
            f"{', with one,' if any(result.observed for result in runs) else ''} and through {len(faces)} "
            "ways to call the pool (faces)"
        )
    if any(row.candidate.verdict is Verdict.FAIL for row in judged):
        good = [f"{candidate} fails only what {judged[0].baseline.pool} fails too, in {len(judged)} scenarios"]
    good += [
        f"{speed.scenario}: the candidate has {speed.ratio:.2f} times the baseline's {speed.metric} "
        f"(95 % interval {speed.low:.2f} to {speed.high:.2f})"
        for speed in speeds
    ]
    if explored:
        good.append(power(candidate, [*runs, *explored]))
    if operations:
        ignored = sum(row.answers_ignored for row in judged)
        left_out = (
            f"; {ignored} more answers were left out, as the scenarios' comparing hooks demand" if ignored else ""
        )
        good.append(
            f"{operations} operations were compared between the pools; all answers agree, apart from "
            f"declared differences{left_out}"
        )
    if sentence := not_asked.summary(candidate):
        good.append(sentence)
    return Judgement(decision=Decision.SAFE, reasons=(*good, *dict.fromkeys(case)), **told)


def _dangers(row: ScenarioComparison) -> list[str]:
    told = []
    baseline_fails = {d.checker for d in row.differences if d.kind == "finding" and d.pool == row.baseline.pool}
    for difference in row.differences:
        who = difference.made_in or difference.pool
        if difference.reason:
            # A reason excuses a failed checker of the candidate only if the baseline fails that checker too.
            of_candidate = difference.kind == "finding" and difference.pool == row.candidate.pool
            if of_candidate and difference.checker not in baseline_fails:
                told.append(
                    f"{row.name}: {who} fails {difference.checker}, which {row.baseline.pool} passes: "
                    f"{difference.reason}"
                )
            continue
        old = f" ({difference.ran_out})" if difference.ran_out else ""
        if difference.kind == ANSWERS:
            told.append(f"{row.name}: the answers differ, and the scenario does not declare it: {difference.text}{old}")
        elif difference.pool == row.candidate.pool:
            told.append(f"{row.name}: {who} fails {difference.checker}: {difference.text}{old}")
        else:
            told.append(
                f"{row.name}: {who}, the baseline, fails {difference.checker}, and the scenario does not declare "
                "it (its "
                f"intended_differences may declare it): {difference.text}{old}"
            )
    return told


def _gaps(row: ScenarioComparison) -> list[str]:
    told: list[str] = []
    if bool(row.baseline.skipped) != bool(row.candidate.skipped):
        skipped = row.baseline if row.baseline.skipped else row.candidate
        if skipped.blind:  # listed once, as not asked
            return told
        if not row.asked_of_candidate_alone:
            told.append(f"{row.name} was run on one of the two pools only: {skipped.skipped}")
    told += [f"{row.name}: {sentence}" for sentence in row.undecided]
    for result in row.all_runs:
        if result.skipped:
            continue
        if result.trouble:
            told.append(f"{row.name} on {result.made_in}: {result.trouble}")
        told += [
            f"{row.name} on {result.made_in}: the checker {found.checker} could not decide: {found.claim}"
            for found in result.findings
            if found.verdict is Verdict.UNKNOWN
        ]
        if not result.findings and not result.trouble:
            told.append(f"{row.name} on {result.made_in}: no checker was asked")
    for main, more in row.runs:
        asked = {found.checker for result in (main, *more) for found in result.findings}
        if not main.skipped and not main.trouble:
            told += [
                f"{row.name} on {main.pool}: the checker {checker} was asked in no run, because it needs the "
                "events that a pool reports"
                for checker in main.unasked
                if checker not in asked
            ]
    return told

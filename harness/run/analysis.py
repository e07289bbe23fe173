"""Judges a run from its folder alone, so a later analysis gives the same findings as the run itself."""

from __future__ import annotations

from poolproof.harness.compare.comparison import RunResult
from poolproof.harness.history.chart_data import draw
from poolproof.harness.history.history import History
from poolproof.harness.history.metrics import measure
from poolproof.harness.history.replay import replay_command
from poolproof.harness.model.checker import MAX_EXAMPLES, Finding, asked_in, run_checker
from poolproof.harness.model.evidence import Evidence, evidence_of, is_blind, tell_evidence
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.verdict import Verdict, worst
from poolproof.harness.run.store import RunFolder

FACE_CHECKER = "face"
"""The checker's name in findings that the face itself reports."""


def analyze(scenario: Scenario, folder: RunFolder) -> RunResult:
    """Judge a run from its folder alone. Raises RecordError if the folder is not a run folder."""
    history = folder.read_history()
    info = history.info
    blind = [checker for checker in scenario.checkers if is_blind(checker, info.cannot_show)]
    here = info.cannot_show if info.observed else (*info.cannot_show, Evidence.EVENTS)  # an observed run has the rest
    asked = [
        checker
        for checker in scenario.checkers
        if asked_in(checker, observed=info.observed) and checker.name not in info.void and not is_blind(checker, here)
    ]
    findings = tuple(run_checker(checker, history) for checker in asked) + _complain(history)
    trouble = history.trouble
    if not history.finished:
        trouble = "; ".join(part for part in (trouble, "the run was cut off") if part)
    verdict = worst(finding.verdict for finding in findings)
    if trouble and verdict is Verdict.PASS:
        verdict = Verdict.UNKNOWN
    return RunResult(
        scenario=info.scenario,
        pool=info.pool,
        seed=info.seed,
        verdict=verdict,
        findings=findings,
        metrics=measure(history),
        picture=draw(history, findings),
        folder=str(folder.path),
        trouble=trouble,
        replay=replay_command(info),
        face=info.face,
        observed=info.observed,
        unasked=tuple(checker.name for checker in scenario.checkers if checker not in (*asked, *blind)),
        not_asked=tuple((checker.name, tell_evidence(evidence_of(checker))) for checker in blind),
    )


def _complain(history: History) -> tuple[Finding, ...]:
    if not history.complaints:
        return ()
    claim = f"the face {history.info.face} reported: {history.complaints[0]}"
    return (
        Finding(checker=FACE_CHECKER, verdict=Verdict.FAIL, claim=claim, examples=history.complaints[1:MAX_EXAMPLES]),
    )

"""The words that a report explains: terms, guarantees, failures and checkers, each with one sentence.

Pure. A report shows the numbers and checkers that it mentions, and all terms. docs/glossary.md has the same sentences.
"""

from __future__ import annotations

import msgspec

from poolproof.harness.compare.comparison import Comparison
from poolproof.harness.compare.glossary import MEANINGS, TERMS

MORE_TERMS = {
    "workload": "the calls that each client makes; it follows from the random seed alone",
    "operation": "one call of a run in its records: when it was intended, made, given a worker and completed, and how "
    "it ended",
    "history": "the complete record of one run, line by line in `history.jsonl.gz` (`zcat` shows it)",
    "overlap": "the number of workers at work at the same time, by their journals; it proves concurrency without a "
    "clock",
    "verdict": "`pass`, `unknown` or `fail`, of a finding, a run or a scenario; unknown never counts as pass",
    "decision": "the result of a comparison: `SAFE`, `UNSAFE` or `INCONCLUSIVE`",
    "cell": "a combination of fault, workload and configuration that some scenario tries",
    "profile": "how thorough a command is: `smoke`, `quick` or `full`",
    "outcome": "how a call ended: a result, or one error such as `CallTimeout`",
    "round": "one block of each pool, next to each other in time, so that all see the same machine",
    "block": "a short time in which one pool is loaded and measured",
    "ratio": "the candidate's figure divided by the baseline's, with its 95 % interval",
    "95 % interval": "a range computed from the spread between the rounds: 95 of 100 such ranges hold the true ratio",
    "margin": 'the largest slowdown that still counts as "no worse"',
    "throughput": "results per second",
    "p50": "half of the calls took at most this time",
    "p90": "90 % of the calls took at most this time",
    "p99": "99 % of the calls took at most this time",
    "nonce": "a unique text in a request; the worker returns it, which proves that the answer belongs to the request",
    "seed": "the number from which all random choices of a run follow, so that the run can be repeated",
    "reference model": "a simple description of what a pool may answer; it judges generated runs",
}
"""Terms of reports, beside those of the comparison itself."""

CHECKS = {
    "answered": "Every call of this role was answered.",
    "at_most_once": "No request was sent twice, and no worker served one twice.",
    "audit": "By the workers' own journals each call ran once or not at all, as its outcome says.",
    "bounded_start": "Every start of a worker ended within its limit of time.",
    "call_steps": "The pool reported the steps of each call in their order, and no step after the call's end.",
    "clean_workers": "A worker whose exchange broke off was never used again.",
    "close_bounded": "Closing the pool ended in bounded time, and waiting calls were refused at once.",
    "conserved": "The pool's own counts add up: submitted calls equal ended calls, and agree with what callers saw.",
    "deadlines": "Every call ended soon after its limit, and no timeout came before its limit.",
    "exclusive_lease": "No worker served two clients at the same time.",
    "explained_outcomes": "Every outcome is one that the reference model allows.",
    "fault_landed": "The fault that the scenario injects hit a worker or the pool; otherwise nothing was tested.",
    "fifo": "Waiting calls got workers in the order in which they arrived.",
    "full_capacity": "After the run the pool could still use all its workers at once.",
    "hand_off": "Each offer of a worker was either accepted or withdrawn, exactly once.",
    "independence": "A stuck, stopped or dying worker delayed no call on another worker.",
    "leak_slope": "Memory, descriptors, threads and children did not grow while the run worked.",
    "limits_kept": "Calls that waited for a worker beyond their limits of time ended at these limits.",
    "linearizable": "The calls of each session have one order that explains all answers.",
    "live_bound": "There were never more living workers than allowed.",
    "lives": "Every worker was started, became ready, was ended and was reaped, in this order.",
    "no_growth": "Many plain calls added no memory, descriptors or threads.",
    "nothing_left": "After the close no process, file descriptor or thread was left.",
    "one_outcome": "Every call ended exactly once, with an outcome that the scenario allows.",
    "options_kept": "The pool kept to its options, such as its limits on workers and on waiting calls.",
    "orderly_life": "The pool had the size that it was given, and after it refused a call it served no later one.",
    "outcome": "The calls with this label ended as the scenario says they must.",
    "overlap": "As many workers were at work at the same time as the scenario demands.",
    "own_answer": "Every answer belongs to its own request, and says what was asked for.",
    "own_model": "Each call used the model that it named.",
    "parallel": "The calls of this role ran side by side.",
    "parallel_start": "Workers were started side by side.",
    "prompt": "The calls with this label ended in time, whatever else ran.",
    "recovered": "After each fault the pool answered again, and had its full size again, in time.",
    "recycled": "Workers were replaced after their limit of calls, and only between leases.",
    "replaced": "The worker that served the calls with this label was ended, and served no later call.",
    "reported": "The errors of this role's calls reached the caller.",
    "restraint": "A short burst of calls did not start more workers than it needs.",
    "seen": "Those whom the fault hit saw what the contract says.",
    "session_counters": "Each session's counter equals the number of its answered calls.",
    "sessions": "Every call of a session saw the state that its acknowledged calls had left.",
    "stable_workers": "No worker ended before the pool was closed.",
    "state": "The calls of a session of this role saw their session's state.",
    "timeout_kills": "The worker of a call that timed out was killed before the call ended.",
    "true_status": "The pool's status and health agreed with what was going on.",
    "turns_kept": "Each call was served by the idle worker that the options of the pool promise.",
    "versions": "Each call of a session saw a version at least as new as the last acknowledged one.",
    "waiters_leave": "No call that was cancelled while it was handed a worker ended that worker.",
    "work_conserving": "No worker was idle while a call that it could serve waited.",
}
"""What each checker claims, by its name without the label after the colon."""


class Term(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a report's glossary. `anchor` is its place in the page."""

    name: str
    meaning: str
    anchor: str


def build_glossary(comparison: Comparison) -> tuple[Term, ...]:
    """The terms of every report, then the guarantees, failures and checkers that this comparison mentions."""
    numbers = {number for row in comparison.scenarios for number in (*row.failures, *row.guarantees)}
    checks = set()
    for result in (*(result for row in comparison.scenarios for result in row.all_runs), *comparison.explored):
        for found in result.findings:
            numbers.update(found.guarantees)
            checks.add(found.checker.partition(":")[0])
    return (
        *(_term("term", name, meaning) for name, meaning in sorted((TERMS | MORE_TERMS).items())),
        *(_term("number", name, meaning) for name, meaning in MEANINGS.items() if name in numbers),
        *(_term("checker", name, meaning) for name, meaning in CHECKS.items() if name in checks),
    )


def _term(kind: str, name: str, meaning: str) -> Term:
    return Term(name=name, meaning=meaning.replace("`", ""), anchor=f"{kind}-{name.replace(' ', '-').replace('%', '')}")

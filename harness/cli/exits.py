"""The exit codes of `poolproof`."""

from __future__ import annotations

from enum import IntEnum

from poolproof.harness.model.verdict import Decision, Verdict


class Exit(IntEnum):
    """The exit codes."""

    GOOD = 0
    BAD = 1
    USAGE = 2
    UNDECIDED = 3
    BROKEN = 4
    INTERRUPTED = 130
    READER_GONE = 141


OF_DECISION = {Decision.SAFE: Exit.GOOD, Decision.UNSAFE: Exit.BAD, Decision.INCONCLUSIVE: Exit.UNDECIDED}
OF_VERDICT = {Verdict.PASS: Exit.GOOD, Verdict.FAIL: Exit.BAD, Verdict.UNKNOWN: Exit.UNDECIDED}

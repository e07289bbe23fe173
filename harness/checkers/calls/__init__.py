"""Checkers of calls: whether each call is answered correctly, once, in time and in order."""

from __future__ import annotations

from poolproof.harness.checkers.calls.answers import OwnAnswer
from poolproof.harness.checkers.calls.audit import Audit
from poolproof.harness.checkers.calls.deadlines import Deadlines, Prompt
from poolproof.harness.checkers.calls.linearizability import Linearizable
from poolproof.harness.checkers.calls.order import Fifo
from poolproof.harness.checkers.calls.outcomes import LabelledOutcome, OneOutcome
from poolproof.harness.checkers.calls.programs import OwnModel
from poolproof.harness.checkers.calls.steps import CallSteps
from poolproof.harness.checkers.calls.versions import Versions
from poolproof.harness.checkers.calls.waiting import HandOff, Independence, WorkConserving

__all__ = [
    "Audit",
    "CallSteps",
    "Deadlines",
    "Fifo",
    "HandOff",
    "Independence",
    "LabelledOutcome",
    "Linearizable",
    "OneOutcome",
    "OwnAnswer",
    "OwnModel",
    "Prompt",
    "Versions",
    "WorkConserving",
]

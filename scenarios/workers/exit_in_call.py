"""A worker that exits in the middle of a call costs that call only, and the error has the worker's last output."""

from __future__ import annotations

import random

from poolproof.harness.checkers import CORE, FaultLanded, LabelledOutcome, OneOutcome
from poolproof.harness.model.fault import FaultKind
from poolproof.harness.model.scenario import PATIENT, Scenario
from poolproof.harness.model.workload import Plan, Size, Step

CALLS = 5
UNANSWERED_S = 30.0
"""The timeout of a call whose worker has exited; a pool that notices the exit needs far less."""


def workload(_: random.Random, size: Size) -> Plan:
    """Every client makes a few calls, makes a worker exit, and makes a few more calls."""
    echoes = (Step(command="echo", label="echo"),) * size.count(CALLS)
    leave = Step(command="exit", args={"code": 7}, label="exit", timeout_s=UNANSWERED_S, fault=FaultKind.EXIT)
    return ((*echoes, leave, *echoes),) * size.clients


SCENARIO = Scenario(
    name="exit_in_call",
    summary="a worker that exits in the middle of a call is replaced and costs that call only",
    failures=("F12", "F18"),
    guarantees=("G3", "G8", "G27"),
    workload=workload,
    commands=("exit", "echo"),
    config=PATIENT,
    checkers=(
        OneOutcome(allowed=frozenset({"result", "WorkerCrashed"})),
        LabelledOutcome(label="exit", outcomes=frozenset({"WorkerCrashed"})),
        # A pool that lost a worker without a replacement, or that keeps a dead worker, cannot serve these calls.
        LabelledOutcome(label="echo", outcomes=frozenset({"result"}), guarantees=("G3", "G8")),
        FaultLanded(kinds=(FaultKind.EXIT,)),
        *CORE,
    ),
)

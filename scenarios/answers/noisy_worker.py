"""F6: a worker's printed output, however large, must not get into a response and must not block a call."""

from __future__ import annotations

import random

from poolproof.harness.checkers import CORE, FaultLanded, OneOutcome
from poolproof.harness.model.fault import FaultKind
from poolproof.harness.model.scenario import PATIENT, Scenario
from poolproof.harness.model.workload import Plan, Size, Step

PRINTED_BYTES = 1_000_000
STREAMS = {"stdout": FaultKind.PRINT, "stderr": FaultKind.STDERR_FLOOD, "raw": FaultKind.RAW_WRITE}


def workload(choice: random.Random, size: Size) -> Plan:
    """Every client makes a worker print to each stream, in its own order, with an echo after each."""
    plan = []
    for _ in range(size.clients):
        steps = []
        for stream in choice.sample(tuple(STREAMS), len(STREAMS)):
            args = {"bytes": PRINTED_BYTES, "stream": stream}
            steps += [Step(command="print", args=args, fault=STREAMS[stream]), Step(command="echo")]
        plan.append(tuple(steps))
    return tuple(plan)


SCENARIO = Scenario(
    name="noisy_worker",
    summary="a worker that prints a megabyte to stdout, to stderr and to file descriptor 1 corrupts no answer "
    "and blocks no call",
    failures=("F6",),
    guarantees=("G25",),
    workload=workload,
    commands=("print", "echo"),
    config=PATIENT,
    checkers=(OneOutcome(guarantees=("G3", "G25")), FaultLanded(kinds=tuple(STREAMS.values())), *CORE),
)

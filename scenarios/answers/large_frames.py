"""G25: requests and responses far larger than a pipe arrive whole, and an oversize request fails cleanly."""

from __future__ import annotations

import random

from poolproof.harness.checkers import CORE, Deadlines, LabelledOutcome, OneOutcome
from poolproof.harness.model.scenario import PATIENT, Scenario
from poolproof.harness.model.workload import Plan, Size, Step

LARGE_BYTES = 3_000_000
LIMIT_BYTES = 8_000_000


def workload(_: random.Random, __: Size) -> Plan:
    """Large echoes, a large answer to a small request, and a request over the limit."""
    steps = (
        Step(command="echo", args={"value": "e" * LARGE_BYTES}, verbatim=True, label="large"),
        Step(command="blob", args={"bytes": LARGE_BYTES}, label="large"),
        Step(command="echo", args={"value": "o" * LIMIT_BYTES}, verbatim=True, label="oversize"),
        Step(command="echo", label="after"),
    )
    return (steps,) * 2


SCENARIO = Scenario(
    name="large_frames",
    summary="requests and responses of several megabytes arrive complete, and a request above the limit is "
    "refused before it is sent",
    failures=("F20",),
    guarantees=("G11", "G25"),
    workload=workload,
    commands=("echo", "blob"),
    config={**PATIENT, "max_frame_bytes": LIMIT_BYTES},
    fixed_size=Size(workers=2, clients=2),
    checkers=(
        OneOutcome(allowed=frozenset({"result", "InvalidRequest"})),
        LabelledOutcome(label="large", outcomes=frozenset({"result"}), guarantees=("G3", "G25")),
        LabelledOutcome(label="oversize", outcomes=frozenset({"InvalidRequest"})),
        LabelledOutcome(label="after", outcomes=frozenset({"result"})),
        Deadlines(slack_s=1.0),
        *CORE,
    ),
)

"""F7: a result is any JSON value and comes back verbatim, unwrapped exactly once."""

from __future__ import annotations

import random
from typing import Any

from poolproof.harness.checkers import CORE, OneOutcome
from poolproof.harness.model.scenario import PATIENT, Scenario
from poolproof.harness.model.workload import Plan, Size, Step

VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    2**53,
    0.5,
    1e300,
    "",
    '\u0000 \u2028 \U0001f40d \\ " </script>',
    [],
    [[], [None], {}],
    {},
    {"result": 1},
    {"result": {"result": None}},
    {"success": False, "error": "only a value", "id": 0},
    {"": {"a b": [1, 2.5, "x"]}},
    "x" * 200_000,
)


def workload(choice: random.Random, size: Size) -> Plan:
    """Every client echoes every value, in its own order, after a call that carries a nonce, which the audit needs."""
    steps = [Step(command="echo", args={"value": value}, verbatim=True) for value in VALUES]
    return tuple((Step(command="echo"), *choice.sample(steps, len(steps))) for _ in range(size.clients))


SCENARIO = Scenario(
    name="any_json",
    summary="null, 0, empty and nested results come back exactly as the worker returned them",
    failures=("F7",),
    guarantees=("G1",),
    workload=workload,
    config=PATIENT,
    checkers=(OneOutcome(), *CORE),
)

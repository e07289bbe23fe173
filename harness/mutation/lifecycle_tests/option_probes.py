"""Scenarios that only the self-check needs; each tests what one option of a pool promises."""

from __future__ import annotations

import random

from poolproof.bridge import Capability
from poolproof.harness.checkers import CORE, Linearizable, LiveBound
from poolproof.harness.model.checker import Checker
from poolproof.harness.model.fault import Fault, FaultKind
from poolproof.harness.model.scenario import PATIENT, Scenario
from poolproof.harness.model.workload import Plan, Size, Step, steady
from poolproof.harness.oracle.options import OptionsKept
from poolproof.harness.oracle.outcomes import ExplainedOutcomes
from poolproof.harness.oracle.status import TrueStatus

SESSION = "probed-session"
LONG_LOG = 45
SHORT_LOG_BYTES = 1_000
LIMIT_S = 0.5
USES, USES_IN_LIMIT = 24, 6
LEAST_WORKERS = 2
FAILURES_TO_OPEN = 3


def moving(_: random.Random, __: Size) -> Plan:
    """A session collects many values on one worker, loses that worker, and is read on another one."""
    appends = tuple(
        Step(command="append", args={"key": "k", "value": f"value {number}"}, session=SESSION)
        for number in range(LONG_LOG)
    )
    leave = Step(command="exit", args={"code": 3}, label="exit", fault=FaultKind.EXIT)
    return ((*appends, leave, Step(command="get", args={"key": "k"}, session=SESSION)),)


def lasting(_: random.Random, __: Size) -> Plan:
    """A session is used again and again, for longer than the time after which an unused session ends."""
    put = Step(command="put", args={"key": "k", "value": "kept"}, session=SESSION)
    get = Step(command="get", args={"key": "k"}, session=SESSION, pause_s=LIMIT_S / USES_IN_LIMIT)
    return ((put, *(get,) * USES),)


def restarting(_: random.Random, __: Size) -> Plan:
    """The only worker ends a few times."""
    leave = Step(command="exit", args={"code": 3}, label="exit", fault=FaultKind.EXIT)
    return ((Step(command="echo"), *(leave, Step(command="echo")) * 4),)


def _core(workers: int) -> tuple[Checker, ...]:
    return tuple(LiveBound(at_most=workers) if checker.name == "live_bound" else checker for checker in CORE)


OPTION_PROBES: tuple[Scenario, ...] = (
    Scenario(
        name="lazy_alone",
        summary="a lazy pool has one worker for one client",
        workload=steady("echo", calls=20),
        config={**PATIENT, "lazy": True},
        checkers=(ExplainedOutcomes(), OptionsKept(), *_core(3)),
        fixed_size=Size(workers=3, clients=1),
        needs=frozenset({Capability.OPTIONS}),
        guarantees=("G15",),
        compare_answers=False,
        warm=False,
        probed=True,
    ),
    Scenario(
        name="smallest_size",
        summary="an idle pool shrinks to its smallest size, and stays there",
        workload=steady("echo", calls=5),
        config={**PATIENT, "min_workers": LEAST_WORKERS, "idle_timeout_s": 0.2},
        checkers=(ExplainedOutcomes(), OptionsKept(), *_core(3)),
        fixed_size=Size(workers=3, clients=1),
        needs=frozenset({Capability.OPTIONS}),
        guarantees=("G15",),
        compare_answers=False,
        probed=True,
    ),
    Scenario(
        name="crowd",
        summary="calls of sessions that wait are counted",
        workload=steady("echo", calls=5),
        config={**PATIENT},
        checkers=(ExplainedOutcomes(), TrueStatus(), *_core(1)),
        fixed_size=Size(workers=1, clients=1),
        needs=frozenset({Capability.OPTIONS, Capability.SESSIONS}),
        guarantees=("G14", "G27"),
        compare_answers=False,
        probed=True,
    ),
    Scenario(
        name="lasting_session",
        summary="a session in use never ends",
        workload=lasting,
        config={**PATIENT, "session_ttl_s": LIMIT_S},
        checkers=(ExplainedOutcomes(), Linearizable(), *_core(2)),
        fixed_size=Size(workers=2, clients=1),
        needs=frozenset({Capability.OPTIONS, Capability.SESSIONS}),
        guarantees=("G17",),
        compare_answers=False,
        commands=("put", "get"),
    ),
    Scenario(
        name="long_log",
        summary="a long session survives its worker",
        workload=moving,
        config={**PATIENT, "idle_order": "hot"},
        checkers=(ExplainedOutcomes(), Linearizable(), *_core(2)),
        fixed_size=Size(workers=2, clients=1),
        needs=frozenset({Capability.OPTIONS, Capability.SESSIONS}),
        guarantees=("G17", "G18"),
        compare_answers=False,
        commands=("append", "get", "exit"),
    ),
    Scenario(
        name="short_log",
        summary="a session with a snapshot survives its worker",
        workload=moving,
        config={**PATIENT, "idle_order": "hot", "session_log_bytes": SHORT_LOG_BYTES},
        checkers=(ExplainedOutcomes(), Linearizable(), *_core(2)),
        fixed_size=Size(workers=2, clients=1),
        needs=frozenset({Capability.OPTIONS, Capability.SESSIONS}),
        guarantees=("G17", "G18"),
        compare_answers=False,
        commands=("append", "get", "exit"),
    ),
    Scenario(
        name="good_starts_between",
        summary="starts that fail between good ones do not open the circuit",
        workload=restarting,
        config={**PATIENT, "start_failures_to_open": FAILURES_TO_OPEN, "circuit_reset_s": 0.2},
        checkers=(ExplainedOutcomes(), *_core(1)),
        fixed_size=Size(workers=1, clients=1),
        needs=frozenset({Capability.OPTIONS}),
        guarantees=("G13",),
        compare_answers=False,
        faults=(Fault(kind=FaultKind.CRASH_START, starts=FAILURES_TO_OPEN - 1, again=True),),
        commands=("echo", "exit"),
        warm=False,
    ),
)
"""The scenarios that test one option each."""

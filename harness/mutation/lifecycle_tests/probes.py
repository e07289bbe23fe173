"""Scenarios that only the self-check needs: small and quick; each tests one guarantee."""

from __future__ import annotations

import random

from poolproof.bridge import Capability
from poolproof.harness.checkers import (
    CORE,
    CloseBounded,
    Deadlines,
    FaultLanded,
    HandOff,
    LabelledOutcome,
    LiveBound,
    NothingLeft,
    OneOutcome,
)
from poolproof.harness.model.fault import Fault, FaultKind
from poolproof.harness.model.scenario import PATIENT, Scenario
from poolproof.harness.model.workload import Plan, Size, Step, steady
from poolproof.harness.mutation.journals import PromptHandOff, ServedBound, ServedInOrder
from poolproof.harness.mutation.lifecycle_tests.option_probes import OPTION_PROBES

ONLY_V2 = frozenset({Capability.CHECKOUT})
MOST_REQUESTS = 5
CLOSE_GRACE_S = 0.3
BUSY_S = 7.0
LIMIT_S = 0.3
LATE_S = 1.0
OVERSTAY_S = LIMIT_S + 1.7 * LATE_S
"""How long a call would last without a limit: clearly longer than it may."""
HOLD_S = 0.4
PRINTED_BYTES = 300_000
STREAMS = {"stdout": FaultKind.PRINT, "stderr": FaultKind.STDERR_FLOOD, "raw": FaultKind.RAW_WRITE}
GIVES_UP_S = 0.1
APART_S = 0.15
"""Calls that are made at least this many seconds apart certainly arrive in the order in which they were made."""
PATIENT_S = 3.0


def crossing(_: random.Random, __: Size) -> Plan:
    """One call holds the only worker, two wait; one gives up at its hand-off, the other and a last call go on."""
    hold = Step(command="sleep", args={"seconds": HOLD_S}, label="hold")
    racing = Step(command="echo", after="hold:sent", checkout_timeout_s=GIVES_UP_S, label="racing")
    patient = Step(command="echo", after="hold:sent", timeout_s=PATIENT_S, label="patient")
    last = Step(command="echo", after="racing:done", timeout_s=PATIENT_S, label="patient")
    return ((hold, last), (racing,), (patient,))


def apart(_: random.Random, size: Size) -> Plan:
    """One call holds the only worker; each other client then makes one call, each at another time."""
    hold = Step(command="sleep", args={"seconds": APART_S * (size.clients + 1)})
    return ((hold,), *((Step(command="echo", at_s=APART_S * number),) for number in range(1, size.clients)))


def one_holds(_: random.Random, size: Size) -> Plan:
    """One call holds the only worker; the calls of all other clients arrive meanwhile."""
    hold = Step(command="sleep", args={"seconds": HOLD_S}, label="hold")
    return ((hold,), *((Step(command="echo", after="hold:sent", label="next"),),) * (size.clients - 1))


def one_call_each(_: random.Random, size: Size) -> Plan:
    """Each client makes one call, at any scale: a second call could get the worker that other clients wait for."""
    return ((Step(command="sleep", args={"seconds": 0.02}),),) * size.clients


def noise(_: random.Random, __: Size) -> Plan:
    """The only worker prints to each stream; an echo follows each."""
    steps: list[Step] = []
    for stream, kind in STREAMS.items():
        args = {"bytes": PRINTED_BYTES, "stream": stream}
        steps += [Step(command="print", args=args, fault=kind), Step(command="echo")]
    return (tuple(steps),)


def too_long_a_wait(_: random.Random, __: Size) -> Plan:
    """One call holds the only worker for much longer than the checkout timeout of another call."""
    hold = Step(command="sleep", args={"seconds": OVERSTAY_S}, label="hold")
    return ((hold,), (Step(command="echo", after="hold:sent", timeout_s=LIMIT_S, label="waiting"),))


def too_long_an_answer(_: random.Random, __: Size) -> Plan:
    """The only worker takes much longer for a call than the call's timeout; another call follows."""
    late = Step(command="sleep", args={"seconds": OVERSTAY_S}, timeout_s=LIMIT_S, label="late")
    return ((late, Step(command="echo", label="after")),)


def lost_and_replaced(_: random.Random, __: Size) -> Plan:
    """The only worker exits in the middle of a call; another call follows."""
    leave = Step(command="exit", args={"code": 7}, label="exit", fault=FaultKind.EXIT)
    return ((leave, Step(command="echo", label="after")),)


PROBES: tuple[Scenario, ...] = (
    *OPTION_PROBES,
    Scenario(
        name="few_calls",
        summary="a few plain calls",
        guarantees=("G25",),
        workload=steady("pid", calls=4),
        commands=("pid",),
        fixed_size=Size(workers=2, clients=3),
        config=PATIENT,
        checkers=(OneOutcome(guarantees=("G3", "G25")), *CORE),
    ),
    Scenario(
        name="one_by_one",
        summary="one client makes calls on one worker while no other call waits",
        guarantees=("G8",),
        workload=steady("pid", calls=4, checkout_timeout_s=2.0),
        commands=("pid",),
        fixed_size=Size(workers=1, clients=1),
        config=PATIENT,
        checkers=(OneOutcome(guarantees=("G3", "G8")), *CORE),
    ),
    Scenario(
        name="one_holder",
        summary="while one call uses the only worker no other call does, so the worker's death costs no other call",
        guarantees=("G2",),
        workload=one_holds,
        commands=("sleep", "echo"),
        faults=(Fault(kind=FaultKind.KILL, when="hold:sent", after_s=HOLD_S / 2),),
        fixed_size=Size(workers=1, clients=4),
        config=PATIENT,
        checkers=(
            LabelledOutcome(label="hold", outcomes=frozenset({"WorkerCrashed"})),
            LabelledOutcome(label="next", outcomes=frozenset({"result"}), guarantees=("G2", "G3")),
            FaultLanded(kinds=(FaultKind.KILL,)),
            *CORE,
        ),
    ),
    Scenario(
        name="noisy_call",
        summary="calls are answered whatever the only worker prints",
        guarantees=("G25",),
        workload=noise,
        commands=("print", "echo"),
        fixed_size=Size(workers=1, clients=1),
        config=PATIENT,
        checkers=(OneOutcome(guarantees=("G3", "G25")), FaultLanded(kinds=tuple(STREAMS.values())), *CORE),
    ),
    Scenario(
        name="stray_call",
        summary="frames that a worker sends before it answers its init ping are not mistaken for the answer",
        guarantees=("G13", "G25"),
        workload=steady("echo", calls=2),
        faults=(Fault(kind=FaultKind.STRAY_START, for_s=0.2, amount=20),),
        warm=False,
        fixed_size=Size(workers=1, clients=1),
        checkers=(
            OneOutcome(guarantees=("G3", "G13", "G25")),
            FaultLanded(kinds=(FaultKind.STRAY_START,)),
            *CORE,
        ),
        config=PATIENT,
    ),
    Scenario(
        name="lost_worker",
        summary="the only worker exits in the middle of a call, and the next call gets a new worker",
        guarantees=("G8",),
        workload=lost_and_replaced,
        commands=("exit", "echo"),
        fixed_size=Size(workers=1, clients=1),
        checkers=(
            LabelledOutcome(label="exit", outcomes=frozenset({"WorkerCrashed"})),
            LabelledOutcome(label="after", outcomes=frozenset({"result"}), guarantees=("G3", "G8")),
            FaultLanded(kinds=(FaultKind.EXIT,)),
            *CORE,
        ),
        config=PATIENT,
    ),
    Scenario(
        name="crossed_hand_off",
        summary="a call gives up at the moment at which it is handed the worker, and the worker is not lost",
        guarantees=("G9",),
        workload=crossing,
        commands=("sleep", "echo"),
        needs=ONLY_V2,
        fixed_size=Size(workers=1, clients=3),
        config=PATIENT,
        checkers=(
            OneOutcome(allowed=frozenset({"result", "CheckoutTimeout"})),
            LabelledOutcome(label="patient", outcomes=frozenset({"result"}), guarantees=("G3", "G9")),
            HandOff(),
            *CORE,
        ),
    ),
    Scenario(
        name="late_answer",
        summary="a call ends at its time limit, although its worker takes much longer",
        guarantees=("G11",),
        workload=too_long_an_answer,
        commands=("sleep", "echo"),
        fixed_size=Size(workers=1, clients=1),
        checkers=(
            LabelledOutcome(label="late", outcomes=frozenset({"CallTimeout"})),
            LabelledOutcome(label="after", outcomes=frozenset({"result"})),
            Deadlines(slack_s=LATE_S),
            *CORE,
        ),
        config=PATIENT,
    ),
    Scenario(
        name="late_worker",
        summary="a call that waits for a worker gives up at its time limit",
        guarantees=("G11",),
        workload=too_long_a_wait,
        commands=("sleep", "echo"),
        fixed_size=Size(workers=1, clients=2),
        config=PATIENT,
        checkers=(
            LabelledOutcome(label="waiting", outcomes=frozenset({"CheckoutTimeout"})),
            Deadlines(slack_s=LATE_S),
            *CORE,
        ),
    ),
    Scenario(
        name="work_conserved",
        summary="as soon as a worker is free, one of many waiting calls is served",
        guarantees=("G6",),
        workload=one_call_each,
        commands=("sleep",),
        fixed_size=Size(workers=2, clients=14),
        config=PATIENT,
        checkers=(OneOutcome(), PromptHandOff(within_s=0.1), *CORE),
    ),
    Scenario(
        name="arrivals_apart",
        summary="calls that come one after another to a busy worker are served in this order",
        guarantees=("G7",),
        workload=apart,
        commands=("sleep", "echo"),
        fixed_size=Size(workers=1, clients=6),
        config=PATIENT,
        checkers=(OneOutcome(), ServedInOrder(apart_s=APART_S / 3), *CORE),
    ),
    Scenario(
        name="full_queue",
        summary="if more calls wait than the queue allows, the pool refuses the rest",
        guarantees=("G14",),
        workload=steady("sleep", {"seconds": 0.2}, calls=1),
        commands=("sleep",),
        needs=ONLY_V2,
        config={**PATIENT, "max_queue": 2},
        fixed_size=Size(workers=1, clients=8),
        checkers=(
            OneOutcome(allowed=frozenset({"result", "QueueFull"}), at_least={"QueueFull": 1}, guarantees=("G3", "G14")),
            *CORE,
        ),
    ),
    Scenario(
        name="modest_demand",
        summary="two clients of a lazy pool get two workers",
        guarantees=("G15",),
        workload=steady("sleep", {"seconds": 0.02}, calls=5),
        commands=("sleep",),
        needs=ONLY_V2,
        config={**PATIENT, "lazy": True},
        warm=False,
        fixed_size=Size(workers=6, clients=2),
        checkers=(OneOutcome(), LiveBound(at_most=2, name="restraint", guarantees=("G15",)), *CORE),
    ),
    Scenario(
        name="recycled_workers",
        summary="a worker exits after its last allowed request, and no call is lost",
        guarantees=("G16",),
        workload=steady("echo", calls=8),
        needs=ONLY_V2,
        config={**PATIENT, "max_requests": MOST_REQUESTS},
        fixed_size=Size(workers=2, clients=3),
        checkers=(OneOutcome(), ServedBound(at_most=MOST_REQUESTS), *CORE),
    ),
    Scenario(
        name="close_busy",
        summary="closing a pool ends the workers that are still busy after the grace period",
        guarantees=("G20", "G22"),
        workload=steady("sleep", {"seconds": BUSY_S}, calls=1, label="busy"),
        commands=("sleep",),
        faults=(Fault(kind=FaultKind.CLOSE, when="busy:sent", after_s=0.1, for_s=CLOSE_GRACE_S),),
        fixed_size=Size(workers=1, clients=1),
        checkers=(
            OneOutcome(allowed=frozenset({"PoolClosed"})),
            FaultLanded(kinds=(FaultKind.CLOSE,)),
            CloseBounded(within_s=CLOSE_GRACE_S + 4.0),
            NothingLeft(),
        ),
        config={**PATIENT, "call_timeout_s": BUSY_S},
    ),
)

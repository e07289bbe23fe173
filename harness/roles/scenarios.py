"""The scenarios over the roles of a user's own calls: the same questions for every pool, whatever it runs.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from poolproof.bridge import Capability
from poolproof.harness.checkers import (
    AtMostOnce,
    CleanWorkers,
    Conserved,
    ExclusiveLease,
    FaultLanded,
    LiveBound,
    Lives,
    NothingLeft,
)
from poolproof.harness.checkers.roles import Answered, OwnMatch, Parallel, Reported, SessionState
from poolproof.harness.model.checker import Checker
from poolproof.harness.model.fault import Fault, FaultKind
from poolproof.harness.model.intended import BASELINE, IntendedDifference
from poolproof.harness.model.scenario import PATIENT, Scenario
from poolproof.harness.model.workload import Plan, Size, Step, Workload
from poolproof.harness.roles.calls import Call, Calls

ALWAYS: tuple[Checker, ...] = (
    ExclusiveLease(),
    AtMostOnce(),
    CleanWorkers(),
    Conserved(),
    Lives(),
    LiveBound(),
    NothingLeft(),
)
BUDGET_S = 300.0
FAILING, LARGE, ONCE, ALONE, SPEED, AROUND = 10, 5, 25, 3, 25, 20
"""How many calls each client makes in the scenarios of these names, or a call alone (ALONE) before them."""
TOGETHER = 3
"""How many slow calls each client makes at the same time as the others."""
STATEFUL = 12
RESTARTED = 8
IDLE_S = 2.0
SERIAL = "a serial pool serves one call after the other, which is why it is replaced"


def scenarios_of(calls: Calls) -> tuple[Scenario, ...]:
    """Return the scenarios for the roles that the user has given."""
    return tuple(_make(calls))


def _make(calls: Calls) -> Iterator[Scenario]:
    options = {**PATIENT, "call_timeout_s": 60.0, "checkout_timeout_s": 60.0, **calls.options}

    def scenario(
        name: str, summary: str, workload: Workload, *checkers: Checker, proven: bool, **more: object
    ) -> Scenario:
        fields = {"config": options, "budget_s": BUDGET_S, "commands": (), "compare_answers": not proven, **more}
        return Scenario(name=name, summary=summary, workload=workload, checkers=(*checkers, *ALWAYS), **fields)  # type: ignore[arg-type]

    if (quick := calls.quick) is not None:
        usual = scenario(
            "calls_answers",
            "many quick calls at the same time: every answer belongs to its own request",
            _each(quick, "quick", calls.calls),
            *_matching(quick, "quick"),
            Answered(role="quick"),
            proven=quick.proven,
            guarantees=("G1", "G3", "G4"),
            smoke=True,
        )
        yield usual
        yield scenario(
            "calls_idle",
            f"calls after {IDLE_S:g} s in which the pool had nothing to do",
            _each(quick, "quick", ALONE, pause_s=IDLE_S, clients=1),
            *_matching(quick, "quick"),
            Answered(role="quick"),
            proven=quick.proven,
        )
        if calls.slower is not None:
            yield scenario(
                "calls_speed",
                "the throughput of the quick call",
                _each(quick, "quick", SPEED * 8, few_clients=True),
                *_matching(quick, "quick"),
                Answered(role="quick"),
                proven=quick.proven,
                timed=True,
                allowed_loss=calls.slower,
            )
        yield scenario(
            "calls_restart",
            "quick calls while the workers are restarted, and after it",
            _around(quick, "quick"),
            *_matching(quick, "quick"),
            Answered(role="quick_after", lost=0),
            *_matching(quick, "quick_after"),
            FaultLanded(kinds=(FaultKind.RESTART,)),
            proven=True,
            needs=frozenset({Capability.RESTART}),
            faults=(Fault(kind=FaultKind.RESTART, when="quick:done", after_s=0.1),),
        )
    for role in ("slow", "compute"):
        made: Call | None = getattr(calls, role)
        if made is None:
            continue
        waits = role == "slow"
        yield scenario(
            f"calls_{role}",
            "calls that wait are served at the same time" if waits else "calls that compute are all answered",
            _together(made, role),
            *((Parallel(role=role),) if waits else ()),
            *_matching(made, role),
            Answered(role=role),
            proven=made.proven,
            guarantees=("G10",) if waits else (),
            intended_differences=(IntendedDifference(pool=BASELINE, checker="parallel:slow", reason=SERIAL),)
            if waits
            else (),
        )
    if (fails := calls.fails) is not None:
        yield scenario(
            "calls_errors",
            "a call that fails is reported with its own error, and the calls beside it are answered",
            _failing(fails, quick),
            Reported(role="fails", matches=fails.matches),
            *((*_matching(quick, "quick"), Answered(role="quick")) if quick is not None else ()),
            proven=True,
        )
    for role, count in (("large", LARGE), ("once", ONCE)):
        if (made := getattr(calls, role)) is not None:
            yield scenario(
                f"calls_{role}",
                "large answers arrive whole" if role == "large" else "no call is run twice, as its answer tells",
                _each(made, role, count * 8),
                *_matching(made, role),
                Answered(role=role),
                proven=made.proven,
            )
    if (stateful := calls.stateful) is not None and stateful.expects is not None:
        state = SessionState(role="stateful", expects=stateful.expects)
        yield scenario(
            "calls_sessions",
            "sessions beside each other: each keeps its own state, and none of its calls runs twice",
            _sessions(stateful, restarted=False),
            state,
            Answered(role="stateful"),
            proven=True,
            needs=frozenset({Capability.SESSIONS}),
            guarantees=("G4", "G17", "G18"),
        )
        yield scenario(
            "calls_sessions_restart",
            "sessions keep their state while the workers are restarted",
            _sessions(stateful, restarted=True),
            state,
            FaultLanded(kinds=(FaultKind.RESTART,)),
            proven=True,
            needs=frozenset({Capability.SESSIONS, Capability.RESTART}),
            faults=(Fault(kind=FaultKind.RESTART, when="stateful:done", after_s=0.1),),
            guarantees=("G17", "G18"),
        )


def _matching(call: Call, role: str) -> tuple[Checker, ...]:
    return (OwnMatch(role=role, matches=call.matches, nonce=call.nonce),) if call.matches or call.nonce else ()


def _step(call: Call, role: str, number: int, **fields: object) -> Step:
    return Step(
        command=call.command,
        args=call.request(number),
        label=role,
        timeout_s=call.timeout_s,
        verbatim=True,
        **fields,  # type: ignore[arg-type]
    )


def _each(
    call: Call, role: str, calls: int, *, pause_s: float = 0.0, clients: int | None = None, few_clients: bool = False
) -> Workload:
    def plan(_: Random, size: Size) -> Plan:
        # No more clients than workers: with calls that wait in a queue, a timing shows the queue.
        count = min(size.clients, size.workers) if few_clients else clients or size.clients
        each = max(1, round(size.count(calls) / count))
        return tuple(
            tuple(_step(call, role, client * each + place, pause_s=pause_s) for place in range(each))
            for client in range(count)
        )

    return plan


def _around(call: Call, role: str) -> Workload:
    # Calls with short pauses, during which the restart comes; then calls after it.
    def plan(_: Random, size: Size) -> Plan:
        def of(client: int) -> tuple[Step, ...]:
            first = client * 2 * AROUND
            before = [_step(call, role, first + place, pause_s=0.02) for place in range(AROUND)]
            wait = [_step(call, role, first + AROUND, after="restart:landed", pause_s=1.0)]
            after = [_step(call, f"{role}_after", first + AROUND + place, pause_s=0.05) for place in range(1, 6)]
            return (*before, *wait, *after)

        return tuple(of(client) for client in range(size.clients))

    return plan


def _together(call: Call, role: str) -> Workload:
    # Each client makes a first call, so that the workers are there. When all of these are over, one client calls
    # alone, and then all clients call at the same time.
    def plan(_: Random, size: Size) -> Plan:
        clients = range(size.clients)
        waits = [
            _step(call, f"{role}_wait", size.clients + client, after=f"{role}_first{client}:done") for client in clients
        ]
        alone = [_step(call, f"{role}_alone", 2 * size.clients + place) for place in range(ALONE)]
        last = _step(call, f"{role}_last", 2 * size.clients + ALONE)

        def of(client: int) -> tuple[Step, ...]:
            number = 2 * size.clients + ALONE + 1 + client * TOGETHER
            first = _step(call, f"{role}_first{client}", client)
            steps = [_step(call, role, number + place, after=f"{role}_last:done") for place in range(TOGETHER)]
            return (first, *waits, *alone, last, *steps) if client == 0 else (first, *steps)

        return tuple(of(client) for client in clients)

    return plan


def _failing(call: Call, quick: Call | None) -> Workload:
    def plan(_: Random, size: Size) -> Plan:
        def of(client: int) -> tuple[Step, ...]:
            numbers = range(client * FAILING, (client + 1) * FAILING)
            if client % 2 and quick is not None:
                return tuple(_step(quick, "quick", number) for number in numbers)
            return tuple(_step(call, "fails", number) for number in numbers)

        return tuple(of(client) for client in range(max(2, size.clients)))

    return plan


def _sessions(call: Call, *, restarted: bool) -> Workload:
    def plan(_: Random, size: Size) -> Plan:
        def of(client: int) -> tuple[Step, ...]:
            names = [f"calls-{client}-{place}" for place in range(2)]
            first = client * 1000
            pause_s = 0.02 if restarted else 0.0
            steps = [
                _step(call, "stateful", first + place, session=names[place % 2], pause_s=pause_s)
                for place in range(2 * STATEFUL)
            ]
            if restarted:
                steps += [
                    _step(
                        call,
                        "stateful",
                        first + 500 + place,
                        session=names[place % 2],
                        after="restart:landed",
                        pause_s=1.0 if place in (0, 2 * RESTARTED - 2) else 0.05,
                    )
                    for place in range(2 * RESTARTED)
                ]
            return tuple(steps)

        return tuple(of(client) for client in range(size.clients))

    return plan


__all__ = ["scenarios_of"]

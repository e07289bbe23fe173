"""A request to run: the pool under test, how to run it, and why a scenario may not be run with it.

Knows nothing of how a run proceeds.
"""

from __future__ import annotations

import random
from importlib.util import find_spec

import msgspec

from poolproof.bridge import Capability
from poolproof.harness.model.checker import asked_in
from poolproof.harness.model.errors import UsageError
from poolproof.harness.model.evidence import Evidence, is_blind
from poolproof.harness.model.face import EXECUTE, USUAL_FACES, Face, Maker
from poolproof.harness.model.fault import START_FAULTS
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.workload import Plan, Size

PoolFactory = Maker


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """A pool under test: its name in commands and reports, how to make one, and what it can do.

    `commands` are the commands of the workers that the pool brings; None if it starts the worker in `worker_command`.
    `faces` are the ways in which the pool can be called. `options` are the only options of PoolConfig that the pool
    takes; None: all of them. `cannot_send` are commands of the shipped worker whose values it cannot carry.
    `cannot_show` are the kinds of evidence that the pool declares it cannot show, beside the events of a pool without
    the capability EVENTS. With `learns` the pool is opened, called
    once and closed before a run, so that what its engine keeps until the process ends is not taken for a leftover.
    """

    name: str
    summary: str
    make: PoolFactory
    capabilities: frozenset[Capability]
    call_timeout_s: float
    checkout_timeout_s: float
    commands: frozenset[str] | None = None
    faces: tuple[Face, ...] = USUAL_FACES
    options: frozenset[str] | None = None
    cannot_send: frozenset[str] = frozenset()
    cannot_show: frozenset[Evidence] = frozenset()
    learns: bool = False

    def face(self, name: str) -> Face:
        """Return the face of that name. Raises UsageError if the pool has no such face."""
        for face in self.faces:
            if face.name == name:
                return face
        known = ", ".join(face.name for face in self.faces)
        raise UsageError(f"{self.name} has no face {name!r}; it has {known}")


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """How to run: the seed, the size, the profile's name, and the worker's command if it is not the shipped worker.

    `known_commands` are the commands of that worker; a scenario that needs others is skipped. None: the shipped
    worker's. `face` is the way in which the pool is called, and `observed` whether it has an observer. `baseline` names
    the other pool of a face that needs two pools. `journals`: the worker keeps a journal.
    """

    seed: int = 1
    size: Size = Size()
    profile: str = "quick"
    worker_command: str | None = None
    known_commands: frozenset[str] | None = None
    face: str = EXECUTE.name
    observed: bool = True
    baseline: str = "v1"
    journals: bool = True


def why_skipped(scenario: Scenario, subject: Subject, request: Request, baseline: Subject | None = None) -> str:
    """Return why this scenario cannot be run on this pool, through this face and with this worker; empty if it can."""
    face = subject.face(request.face)
    for package in scenario.packages:
        if find_spec(package) is None:
            return f"{package} is not installed: pip install 'poolproof[{package}]'"
    if face.package and find_spec(face.package) is None:
        return f"{face.package} is not installed"
    if face.two_pools and baseline is None:
        return f"the face {face.name} needs a baseline pool too"
    offered = subject.capabilities
    if face.two_pools and baseline is not None:
        offered = offered & baseline.capabilities
    missing = sorted(scenario.needs - offered)
    if missing:
        return f"{subject.name} lacks {', '.join(missing)}"
    if request.observed and not face.tells:
        return f"through the face {face.name} the pool's events belong to no call of a client"
    if reason := why_blind(scenario, subject, request):
        return reason
    if not any(asked_in(checker, observed=request.observed) for checker in scenario.checkers):
        return "every checker of the scenario needs the pool's events"
    if face.starts and (request.worker_command is not None or subject.commands is not None):
        return f"the face {face.name} needs the shipped worker"
    plan = plan_of(scenario, request)
    if reason := face.refuses(scenario, plan):
        return reason
    for known in (request.known_commands, subject.commands):
        unknown = sorted(set(scenario.commands) - known) if known is not None else ()
        if unknown:
            return f"the worker does not know the command {', '.join(unknown)}"
    if face.lacks and scenario.demands(face.lacks):
        return f"through the face {face.name} no call is sure to end as {' or '.join(sorted(face.lacks))}"
    return ""


def plan_of(scenario: Scenario, request: Request) -> Plan:
    """Return the plan of each client for this run; empty if the workload raises (the run then reports the error)."""
    try:
        return scenario.workload(choices(scenario.name, request.seed), size_of(scenario, request))
    except Exception:
        return ()


def choices(scenario: str, seed: int) -> random.Random:
    """Return the random generator for every choice of a workload."""
    return random.Random(f"{scenario}/{seed}")


def size_of(scenario: Scenario, request: Request) -> Size:
    """Return the size of this run: the scenario's own size takes precedence; the scale comes from the request."""
    return msgspec.structs.replace(scenario.fixed_size or request.size, scale=request.size.scale)


def hidden_evidence(subject: Subject, request: Request) -> frozenset[Evidence]:
    """Return the kinds of evidence that this pool cannot show, by its declaration or because of a foreign worker."""
    hidden = set(subject.cannot_show)
    if Capability.EVENTS not in subject.capabilities:
        hidden.add(Evidence.EVENTS)
    if subject.commands is None and not request.journals:
        hidden.add(Evidence.JOURNALS)
    return frozenset(hidden)


def why_blind(scenario: Scenario, subject: Subject, request: Request) -> str:
    """Return why this pool cannot be judged by this scenario, whatever it does; empty if it can.

    The reason is always a declaration: evidence that the pool cannot show, or workers that only the pool can start.
    """
    refused = sorted(set(scenario.options_for(subject.name)) - (subject.options or set())) if subject.options else ()
    if refused:
        return f"{subject.name} does not take the option {', '.join(refused)}"
    if unsendable := sorted(subject.cannot_send.intersection(scenario.commands)):
        return f"{subject.name} carries JSON only, so the command {', '.join(unsendable)} cannot be sent"
    hidden = hidden_evidence(subject, request)
    if all(is_blind(checker, hidden) for checker in scenario.checkers):
        return f"{subject.name} cannot show the evidence that every checker of the scenario needs"
    if subject.commands is not None and any(fault.kind in START_FAULTS for fault in scenario.faults):
        return f"{subject.name} starts its own kind of workers, so no fault can be injected at their start"
    # The moment "LABEL:sent" comes from the worker's journal, or without a journal from the pool's events. Of workers
    # that the pool brings it is not known whether they keep journals in time.
    if subject.commands is None and request.journals:
        return ""
    plan = plan_of(scenario, request)
    moments = [step.after for steps in plan for step in steps] + [fault.when for fault in scenario.faults]
    if not any(moment.endswith(":sent") for moment in moments):
        return ""
    if Evidence.EVENTS in hidden:
        return (
            f"the workers keep no journal and {subject.name} reports no events, so the scenario cannot wait until a "
            "call was sent"
        )
    return "" if request.observed else "the workers keep no journal, so the scenario cannot wait until a call was sent"

"""Faults: what can be done to a pool during a run, when, and what came of it.

Pure data. Who inflicts them is the nemesis; a fault that never landed makes its scenario unknown.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class FaultKind(StrEnum):
    """The injuries: from outside, at a worker's start, or by a command."""

    KILL = "kill"
    STOP = "stop"
    CLOSE = "close"

    SLOW_START = "slow_start"
    STRAY_START = "stray_start"
    NOISY_START = "noisy_start"

    GARBAGE = "garbage"
    PRINT = "print"
    EXIT = "exit"
    HANG = "hang"


DESCRIPTIONS: dict[FaultKind, str] = {
    FaultKind.KILL: "SIGKILL to a worker that is busy with a call",
    FaultKind.STOP: "SIGSTOP to a busy worker, and SIGCONT after a while",
    FaultKind.CLOSE: "the pool is closed while calls run and wait",
    FaultKind.SLOW_START: "every worker needs a while before it answers its init ping",
    FaultKind.STRAY_START: "frames that are no answer arrive steadily while a worker starts",
    FaultKind.NOISY_START: "a worker floods its stderr before it answers its init ping",
    FaultKind.GARBAGE: "a worker writes bytes that are no frame, or a frame that is no answer",
    FaultKind.PRINT: "a worker prints to stdout, to stderr, and raw to descriptor 1",
    FaultKind.EXIT: "a worker exits in the middle of a call",
    FaultKind.HANG: "a worker does not answer by the call's deadline",
}

START_FAULTS = frozenset({FaultKind.SLOW_START, FaultKind.STRAY_START, FaultKind.NOISY_START})
COMMAND_FAULTS = frozenset({FaultKind.GARBAGE, FaultKind.PRINT, FaultKind.EXIT, FaultKind.HANG})


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One planned injury.

    `when` names the moment: "LABEL:sent" or "LABEL:done" of a step (the worker that serves it is the victim), or ""
    for `after_s` seconds from the run's begin. `for_s` is how long a stop or a slow start lasts, `amount` how many
    frames or bytes a stray or noisy start makes.
    """

    kind: FaultKind
    when: str = ""
    after_s: float = 0.0
    for_s: float = 0.0
    amount: int = 0


class FaultRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a fault: `landed` only if it is known to have reached a living worker, or the pool."""

    kind: FaultKind
    at_ns: int
    landed: bool
    worker: int | None = None
    pid: int | None = None
    detail: str = ""

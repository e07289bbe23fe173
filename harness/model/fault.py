"""Fault injection: what can be done to a pool during a run, when, and the result of each fault.

Pure data. The nemesis injects the faults. A fault that never landed makes its scenario UNKNOWN.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from poolproof.harness.fakes.models.service import Outage

PIECES_VARIABLE = "POOLPROOF_WRITE_IN_PIECES"
"""The variable of a worker's environment with which a worker under test writes its frames in pieces
(`poolproof.harness.faults.pieces`)."""


class FaultKind(StrEnum):
    """The kinds of faults: of a process or the pool, of a client, of a worker's start, or by a command."""

    KILL = "kill"
    STOP = "stop"
    CLOSE = "close"
    DRAIN = "drain"
    RESIZE = "resize"
    RESTART = "restart"
    FORK = "fork"
    PARENT_KILL = "parent_kill"
    FD_EXHAUSTION = "fd_exhaustion"
    SECOND_OWNER = "second_owner"
    BAD_OPTION = "bad_option"
    STALE_LEASE = "stale_lease"
    LOST_LEASE = "lost_lease"
    HELD_LEASE = "held_lease"
    HOOK_JUNK = "hook_junk"

    MODEL_OUTAGE = "model_outage"

    CLIENT_INTERRUPT = "client_interrupt"
    CLIENT_DEATH = "client_death"

    SLOW_START = "slow_start"
    STRAY_START = "stray_start"
    NOISY_START = "noisy_start"
    MUTE_START = "mute_start"
    CRASH_START = "crash_start"

    GARBAGE = "garbage"
    OVERSIZE = "oversize"
    TRUNCATED = "truncated"
    DUPLICATED = "duplicated"
    WRONG_ID = "wrong_id"
    PRINT = "print"
    RAW_WRITE = "raw_write"
    STDERR_FLOOD = "stderr_flood"
    EXIT = "exit"
    HANG = "hang"
    HALF_ANSWER = "half_answer"
    LATE = "late"
    MEMORY_HOG = "memory_hog"
    WORKER_FDS = "worker_fds"
    GRANDCHILD = "grandchild"


DESCRIPTIONS: dict[FaultKind, str] = {
    FaultKind.KILL: "SIGKILL to a worker that is busy with a call",
    FaultKind.STOP: "SIGSTOP to a busy worker, and SIGCONT after a while",
    FaultKind.CLOSE: "the pool is closed while calls run and wait",
    FaultKind.DRAIN: "the pool is drained while calls run and wait: it refuses new calls, and finishes those",
    FaultKind.RESIZE: "for a while the pool is resized to one worker",
    FaultKind.RESTART: "the workers are restarted, or a worker is killed from outside, as the pool's author has said",
    FaultKind.FORK: "a client forks, and the child uses the pool and exits",
    FaultKind.PARENT_KILL: "SIGKILL to another process that owns a pool of the same kind, while all of its "
    "workers are busy",
    FaultKind.FD_EXHAUSTION: "for a while, the process of the pool can open no more file descriptors",
    FaultKind.SECOND_OWNER: "a second pool asks for the same name",
    FaultKind.BAD_OPTION: "a second pool is requested with an option that does not exist",
    FaultKind.STALE_LEASE: "a client uses a worker that it has already given back",
    FaultKind.LOST_LEASE: "a client's thread ends while it holds a worker, and does not give it back",
    FaultKind.HELD_LEASE: "a second pool is drained while a client holds a worker, between two calls",
    FaultKind.HOOK_JUNK: "a pool's hooks return invalid values",
    FaultKind.MODEL_OUTAGE: "for a while, the language model's provider answers with errors, does not answer, or "
    "closes the connection",
    FaultKind.CLIENT_INTERRUPT: "Ctrl-C reaches a client while a worker is busy with its call",
    FaultKind.CLIENT_DEATH: "a client ends (SystemExit) while a worker is busy with its call",
    FaultKind.SLOW_START: "every worker takes a while to answer its init ping",
    FaultKind.STRAY_START: "a starting worker keeps sending frames that answer no request",
    FaultKind.NOISY_START: "a worker floods its stderr before it answers its init ping",
    FaultKind.MUTE_START: "a worker never answers its init ping, but keeps sending frames that answer no request",
    FaultKind.CRASH_START: "a worker exits before it answers its init ping",
    FaultKind.GARBAGE: "a worker writes bytes that are not a frame, or a frame that is not a response",
    FaultKind.OVERSIZE: "a worker announces a frame far above the size limit",
    FaultKind.TRUNCATED: "a worker announces a frame, writes only a part of the frame, and exits",
    FaultKind.DUPLICATED: "a worker answers the same request more than once",
    FaultKind.WRONG_ID: "a worker answers with the id of another request",
    FaultKind.PRINT: "a worker prints to stdout",
    FaultKind.RAW_WRITE: "a worker writes raw bytes to file descriptor 1 (stdout)",
    FaultKind.STDERR_FLOOD: "a worker floods its stderr",
    FaultKind.EXIT: "a worker exits with a status in the middle of a call",
    FaultKind.HANG: "a worker does not answer before the call's deadline",
    FaultKind.HALF_ANSWER: "a worker stops in the middle of its response, past the call's deadline",
    FaultKind.LATE: "a worker answers after the call's deadline",
    FaultKind.MEMORY_HOG: "a worker allocates memory up to its limit",
    FaultKind.WORKER_FDS: "a worker opens file descriptors up to its limit",
    FaultKind.GRANDCHILD: "a worker exits and leaves a child process that holds the worker's pipes open",
}

START_FAULTS = frozenset(
    {
        FaultKind.SLOW_START,
        FaultKind.STRAY_START,
        FaultKind.NOISY_START,
        FaultKind.MUTE_START,
        FaultKind.CRASH_START,
    }
)
COMMAND_FAULTS = frozenset(
    {
        FaultKind.GARBAGE,
        FaultKind.OVERSIZE,
        FaultKind.TRUNCATED,
        FaultKind.DUPLICATED,
        FaultKind.WRONG_ID,
        FaultKind.PRINT,
        FaultKind.RAW_WRITE,
        FaultKind.STDERR_FLOOD,
        FaultKind.EXIT,
        FaultKind.HANG,
        FaultKind.HALF_ANSWER,
        FaultKind.LATE,
        FaultKind.MEMORY_HOG,
        FaultKind.WORKER_FDS,
        FaultKind.GRANDCHILD,
    }
)
USED_COMMANDS: dict[FaultKind, str] = {
    FaultKind.FORK: "echo",
    FaultKind.STALE_LEASE: "echo",
    FaultKind.HELD_LEASE: "echo",
    FaultKind.HOOK_JUNK: "echo",
    FaultKind.PARENT_KILL: "sleep",
}
"""The command that a kind of fault needs; a scenario with this fault runs only on workers that know the command."""
CLOSING = frozenset({FaultKind.CLOSE, FaultKind.DRAIN})
CLIENT_FAULTS = frozenset({FaultKind.CLIENT_INTERRUPT, FaultKind.CLIENT_DEATH})


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One planned fault.

    `when` names the moment: "LABEL:sent" or "LABEL:done" of a step (the victim is the worker that serves the step, or
    the client that made it), or "" for `after_s` seconds from the run's begin (the victim is the worker that has been
    busy longest). `for_s` is how many seconds a stop, an exhaustion or a slow start lasts. `amount` is how many frames
    or bytes a stray or noisy start writes. `starts` is how many of the first starts the fault affects (0: all).
    With `again`, this repeats: after `starts` affected starts one start is normal, then `starts` starts are affected.
    `outage` is the behaviour of the model server during a model outage.

    A step may wait for a fault: its `after` is then "KIND:landed".
    """

    kind: FaultKind
    when: str = ""
    after_s: float = 0.0
    for_s: float = 0.0
    amount: int = 0
    starts: int = 0
    again: bool = False
    outage: Outage = Outage.SERVER_ERROR


class FaultRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a fault.

    `landed` is true only if the fault is known to have reached a living worker, a client or the pool. `seen` is what
    the victim saw, for faults where that matters: an error's name, or a few words. `op` is the operation whose own
    command is the fault.
    """

    kind: FaultKind
    at_ns: int
    landed: bool
    worker: int | None = None
    pid: int | None = None
    detail: str = ""
    seen: str = ""
    op: int | None = None

"""Draws the calls of a generated run, and the faults that hit them.

Pure. The command or the label of a call says how it may end, so that checkers know which outcomes are right:

    fail, unknown_…              CommandError
    exit, bad_frame              WorkerCrashed
    label "cancelled…"           the client may cancel it
    label "interrupted…"         the client may be interrupted in it
    label "victim…", "stopped…"  its worker may be killed, or stopped for a while
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import msgspec

from poolproof.harness.explore import domain
from poolproof.harness.explore.features import Features
from poolproof.harness.model.fault import Fault, FaultKind
from poolproof.harness.model.workload import Plan, Step

CALLS = (10, 40)
MANY_CALLS = 250
MOST_STARTS = 40
"""About how many processes a run starts because a worker serves a few calls only."""
MOST_ROWS = 3
ROW = (3, 12)
"""How many equal calls follow each other in a row."""
NEAR_S = 0.004
"""How close to its limit a call is answered that is meant to be answered at the limit."""
SHORTEST_LIMIT_S = 0.01
ENDING_SHARE = 0.08
"""The share of a session's calls that end it, in runs in which sessions end."""
MOST_ENDS = 2
"""How often each client ends a worker in a run in which the next starts of workers fail."""
LONG_SESSION_CALLS = (40, 90)
MANY_FAILING = 100
USES_IN_LIMIT = 8
"""A session ends if it is not used for some time; a session that must not end is used this often within that time."""
LIMITS_LONG = 4
"""How many times that long a session that must not end lives."""
SMALL_BYTES = 2_000
BINARY_SHARE = 0.3
SHARED_SIZES = (0, 1, 5_000, 65_535, 65_536, 300_000)
"""Bytes of a request or an answer, around the size from which the shipped pool shares memory with its workers."""
LARGE_BYTES = 140_000
MOST_SLEEP_S = 0.04
STATE_BYTES = 700
"""The largest value that a session keeps; its whole list travels with each append."""
BROKEN_FRAMES = ("garbage", "oversize", "not_json", "wrong_id", "truncated")
NOISE_BYTES = (1, 4_096, 70_000, 300_000)
SESSION_COMMANDS = ("put", "put", "get", "get", "append", "append", "delete", "list", "echo", "sleep")
SMALL_COMMANDS = ("put", "put", "get", "delete")
SMALL_KEYS = 3
SMALL_STATE_BYTES = 16
SMALL_SHARE = 0.7
"""The share of runs with a limited log in which the state of a session stays smaller than the log of its changes, so
that a snapshot can replace the log."""
GRACE_S = 20.0
"""The grace of a close during a run, in seconds. No call lasts that long, so calls that have begun must succeed."""
Draw = Callable[[Random], Step]


class Drawing:
    """The plan and the faults of one run."""

    def __init__(self, features: Features, choice: Random) -> None:
        self._features = features
        self._choice = choice
        self._most_bytes = LARGE_BYTES if "large" in features else SMALL_BYTES
        self._sessions = choice.sample(domain.identifiers(), choice.randint(1, 6)) if "sessions" in features else []
        # A pool learns from the first worker whose start does not fail whether its workers take bytes.
        self._takes_bytes = "faulty_starts" not in features
        small = bool(features.config.get("session_log_bytes")) and choice.random() < SMALL_SHARE
        self._small = small or "snapshots" in features
        self.faults: list[Fault] = []
        self.plan: Plan = tuple(tuple(self._client(number)) for number in range(features.size.clients))
        if "faulty_starts" in features:  # one less in a row than may fail
            most = features.config["start_failures_to_open"] - 1
            self.faults.append(Fault(kind=FaultKind.CRASH_START, starts=most, again=True))

    def _client(self, number: int) -> list[Step]:
        choice, features = self._choice, self._features
        draws = [self._echo, self._echo, *self._further()]
        steps = [choice.choice(draws)() for _ in range(choice.randint(*CALLS))]
        if "rows" in features:
            self._add_rows(steps)
        if "max_requests" in features.config:  # each of a few calls starts a process
            steps = steps[: max(3, MOST_STARTS * features.config["max_requests"] // features.size.clients)]
        if "faulty_starts" in features:
            ending = [place for place, step in enumerate(steps) if step.fault is not None]
            steps = [step for place, step in enumerate(steps) if place not in ending[MOST_ENDS:]]
        if "many" in features:
            steps += [self._echo() for _ in range(choice.randint(MANY_CALLS // 2, MANY_CALLS))]
        if "long_sessions" in features and number < 2:
            session = choice.choice(self._sessions)
            steps += [self._in_session(session) for _ in range(choice.randint(*LONG_SESSION_CALLS))]
        if "lasting_sessions" in features and number < 2:
            steps += self._lasting(choice.choice(self._sessions))
        if {"many", "errors"} <= features.names and number % 2:
            steps += [Step(command="fail", args={"message": f"failed: {place}"}) for place in range(MANY_FAILING)]
        if "bursts" in features:
            steps = self._bursting(steps)
        return self._hit(number, steps)

    def _further(self) -> list[Callable[[], Step]]:
        draws: dict[str, Callable[[], Step]] = {
            "errors": self._failing,
            "streams": self._parts,
            "sleeps": self._sleep,
            "deadlines": self._tight,
            "cancels": self._cancelled,
            "crashes": self._exit,
            "garbage": self._garbage,
            "noise": self._noise,
            "sessions": lambda: self._in_session(self._choice.choice(self._sessions)),
        }
        return [draw for name, draw in draws.items() if name in self._features] + [self._blob, self._pid]

    def _add_rows(self, steps: list[Step]) -> None:
        # Equal calls in a row, which some faces send together; at the begin if the client makes but a few calls.
        few = "max_requests" in self._features.config
        draws = [self._echo, self._pid]
        draws += [self._binary] if self._takes_bytes else []
        draws += [self._fail] if "errors" in self._features else []
        for _ in range(MOST_ROWS):
            draw = self._choice.choice(draws)
            place = 0 if few else self._choice.randrange(len(steps) + 1)
            steps[place:place] = [draw() for _ in range(self._choice.randint(*ROW))]

    def _echo(self) -> Step:
        choice = self._choice
        if choice.random() < 0.3:
            return Step(command="echo", args=self._arguments())
        return Step(command="echo", args={"value": domain.value(choice, self._most_bytes)})

    def _arguments(self) -> dict[str, Any]:
        names = self._choice.sample(("x", "y", "é", "a b", "id", "command", "args", "result"), 2)
        return {name: domain.value(self._choice, SMALL_BYTES, depth=1) for name in names}

    def _blob(self) -> Step:
        choice = self._choice
        if choice.random() < BINARY_SHARE and self._takes_bytes:
            return self._binary()
        return Step(command="blob", args={"bytes": domain.size_bytes(self._choice, self._most_bytes)})

    def _binary(self) -> Step:
        choice = self._choice
        sizes = [domain.size_bytes(choice, self._most_bytes), choice.choice(SHARED_SIZES)]
        choice.shuffle(sizes)
        args = {"bytes": sizes[0], "seed": choice.randrange(251)}
        return Step(command="binary", args=args, upload_bytes=sizes[1])

    def _pid(self) -> Step:
        return Step(command="pid")

    def _sleep(self) -> Step:
        return Step(command="sleep", args={"seconds": self._choice.uniform(0.0, MOST_SLEEP_S)})

    def _failing(self) -> Step:
        if self._choice.random() < 0.3:
            return Step(command=f"unknown_{domain.identifier(self._choice)}")
        return self._fail()

    def _fail(self) -> Step:
        return Step(command="fail", args={"message": f"failed: {domain.text(self._choice, SMALL_BYTES)}"})

    def _parts(self) -> Step:
        choice = self._choice
        return Step(
            command="parts",
            args={"count": choice.choice((0, 1, 2, 3, 17)), "bytes": domain.size_bytes(choice, self._most_bytes // 8)},
        )

    def _tight(self) -> Step:
        # Half of these calls can be answered in time; the others cannot, however fast the pool is. Some answers come at
        # the very moment of the limit.
        choice = self._choice
        seconds, limit_s = choice.uniform(0.0, 0.1), choice.uniform(0.02, 0.15)
        kind = choice.random()
        if kind < 0.3:
            return Step(command="sleep", args={"seconds": seconds}, checkout_timeout_s=limit_s)
        if kind < 0.5:
            limit_s = max(SHORTEST_LIMIT_S, seconds + choice.uniform(-NEAR_S, NEAR_S))
        wait_s = choice.uniform(SHORTEST_LIMIT_S, limit_s) if kind > 0.8 else None
        return Step(command="sleep", args={"seconds": seconds}, timeout_s=limit_s, checkout_timeout_s=wait_s)

    def _cancelled(self) -> Step:
        choice = self._choice
        return Step(
            command="sleep",
            args={"seconds": choice.uniform(0.0, 0.1)},
            label="cancelled",
            cancel_after_s=choice.uniform(0.0, 0.08),
        )

    def _exit(self) -> Step:
        return Step(command="exit", args={"code": self._choice.randint(0, 255)}, fault=FaultKind.EXIT)

    def _garbage(self) -> Step:
        kind = self._choice.choice(BROKEN_FRAMES)
        return Step(command="bad_frame", args={"kind": kind}, fault=FaultKind.GARBAGE)

    def _noise(self) -> Step:
        choice = self._choice
        args = {"bytes": choice.choice(NOISE_BYTES), "stream": choice.choice(("stdout", "stderr", "raw"))}
        return Step(command="print", args=args)

    def _in_session(self, session: str) -> Step:
        choice = self._choice
        if "ending_sessions" in self._features and choice.random() < ENDING_SHARE:
            return Step(command="cleanup_session", session=session)
        small = self._small
        key = choice.choice(domain.identifiers()[: SMALL_KEYS if small else 8])
        args: dict[str, Any] = {"key": key}
        command = choice.choice(SMALL_COMMANDS if small else SESSION_COMMANDS)
        match command:
            case "put":
                args["value"] = domain.value(choice, SMALL_STATE_BYTES if small else STATE_BYTES, depth=int(not small))
            case "append":
                args = {"key": f"list-{key}", "value": domain.value(choice, 40, depth=0)}
            case "list":
                args = {}
            case "echo":
                args = {"value": domain.value(choice, SMALL_BYTES)}
            case "sleep":
                args = {"seconds": choice.uniform(0.0, MOST_SLEEP_S / 4)}
        return Step(command=command, args=args, session=session)

    def _lasting(self, session: str) -> list[Step]:
        # A session that lives longer than its limit, and is used far more often.
        limit_s = self._features.config["session_ttl_s"]
        return [
            msgspec.structs.replace(self._in_session(session), pause_s=limit_s / USES_IN_LIMIT)
            for _ in range(LIMITS_LONG * USES_IN_LIMIT)
        ]

    def _bursting(self, steps: list[Step]) -> list[Step]:
        # Some steps are due at a few common times, so that the calls of all clients come together.
        return [
            msgspec.structs.replace(step, pause_s=self._choice.uniform(0.0, 0.02)) if place % 7 == 0 else step
            for place, step in enumerate(steps)
        ]

    def _hit(self, client: int, steps: list[Step]) -> list[Step]:
        # Faults that hit a call from outside: each has a label of its own, and a delay from the moment of the sending.
        kinds: list[tuple[str, str, FaultKind]] = []
        if "kills" in self._features:
            kinds.append(("kills", "victim", FaultKind.KILL))
        if "stops" in self._features:
            kinds.append(("stops", "stopped", FaultKind.STOP))
        if "interrupts" in self._features and client == 0:
            kinds += [("interrupts", "interrupted", FaultKind.CLIENT_INTERRUPT)] * 3
        for _, word, kind in kinds:
            place = self._choice.randrange(len(steps) + 1)
            label = f"{word}-{client}-{len(self.faults)}"
            seconds = self._choice.uniform(0.01, 0.06)
            steps.insert(place, Step(command="sleep", args={"seconds": seconds}, label=label))
            self.faults.append(
                Fault(
                    kind=kind,
                    when=f"{label}:sent",
                    after_s=self._choice.uniform(0.0, seconds),
                    for_s=self._choice.uniform(0.05, 0.2) if kind is FaultKind.STOP else 0.0,
                )
            )
        return steps

    def resize(self, choice: Random) -> None:
        """Let the pool have one worker for a while, a few times, each from the moment when a certain call is sent."""
        for number in range(choice.randint(1, 3)):
            client = choice.randrange(len(self.plan))
            steps = list(self.plan[client])
            label = f"resizing-{number}"
            steps.insert(choice.randrange(len(steps) + 1), Step(command="sleep", args={"seconds": 0.02}, label=label))
            self.plan = (*self.plan[:client], tuple(steps), *self.plan[client + 1 :])
            self.faults.append(Fault(kind=FaultKind.RESIZE, when=f"{label}:sent", for_s=choice.uniform(0.0, 0.1)))

    def close_in_the_middle(self, drained: bool) -> None:
        """Close the pool in a certain call: with a grace, or drained, which lets waiting calls end, too."""
        client = self._choice.randrange(len(self.plan))
        steps = list(self.plan[client])
        place = self._choice.randrange(len(steps) + 1)
        steps.insert(place, Step(command="sleep", args={"seconds": 0.05}, label="closing"))
        self.plan = (*self.plan[:client], tuple(steps), *self.plan[client + 1 :])
        kind = FaultKind.DRAIN if drained else FaultKind.CLOSE
        self.faults.append(Fault(kind=kind, when="closing:sent", for_s=GRACE_S))

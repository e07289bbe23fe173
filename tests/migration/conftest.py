"""What the tests of the migration share: scripted pools without workers, that can die, hang, lie and lose sessions."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from poolproof.bridge import (
    Capability,
    CommandError,
    Health,
    PoolClosed,
    PoolStatus,
    Sent,
    SessionLost,
    SessionStatus,
    Statistics,
    WorkerCrashed,
)
from poolproof.migration import MigratingPool, Plan
from tests.harness.conftest import fake_pool, fake_subject  # noqa: F401 - fixtures


@contextmanager
def services(program: str, *arguments: str) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Yield a function that starts this program and waits until it says "ready". All are killed at the end."""
    made: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", program, *arguments]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        made.append(child)
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        return child

    try:
        yield start
    finally:
        for child in made:
            child.kill()
            child.communicate()


class Gate:
    """Holds one call back, in whichever pool it is."""

    def __init__(self) -> None:
        self.arrived = threading.Event()
        self.opened = threading.Event()


class ScriptedPool:
    """Sessions in a dict, an echo, and troubles on demand. `executed` counts how often each nonce was carried out."""

    capabilities = frozenset(Capability)

    def __init__(self, name: str = "scripted", version: str = "scripted") -> None:
        self.name = name
        self.version = version
        self.state: dict[str, list[Any]] = {}
        self.executed: Counter[str] = Counter()
        self.asked: list[tuple[str, str | None]] = []
        self.dead = False
        self.lies = False
        self.crash_next: Sent | None = None
        self.undoes = True  # a call without an answer leaves no trace
        self.lose_next = False
        self.gate: threading.Event | None = None
        self.gates: dict[str, Gate] = {}
        self.entered = threading.Event()
        self.closed = 0

    def execute(
        self,
        command: str,
        args: dict[str, Any] | None = None,
        *,
        session: str | None = None,
        timeout_s: float | None = None,
        checkout_timeout_s: float | None = None,
    ) -> Any:
        if self.dead or self.closed:
            raise PoolClosed(f"{self.name} is dead")
        self.asked.append((command, session))
        self.entered.set()
        if self.gate is not None:
            assert self.gate.wait(30), "a gate that nobody opened"
        if (gate := self.gates.get((args or {}).get("nonce", ""))) is not None:
            gate.arrived.set()
            assert gate.opened.wait(30), "a gate that nobody opened"
        crash, self.crash_next = self.crash_next, None
        if crash is Sent.NO:
            raise WorkerCrashed("no worker", sent=Sent.NO)
        if self.lose_next and session is not None:
            self.lose_next = False
            raise SessionLost(f"session {session!r}: as asked")
        args = args or {}
        value = self._carry_out(command, args, session, undo=self.undoes and crash is not None)
        if crash is not None:
            raise WorkerCrashed("the worker died in the call", sent=Sent.YES)
        return value

    def _carry_out(self, command: str, args: dict[str, Any], session: str | None, *, undo: bool) -> Any:
        if "nonce" in args:
            self.executed[args["nonce"]] += 1
        if command == "fail":
            raise CommandError("as asked")
        if command == "note":
            return args["nonce"]
        if command == "echo":
            return "a lie" if self.lies else args.get("value")
        held = self.state.setdefault(str(session), [])
        if command == "append":
            if not undo:
                held.append(args["value"])
            return {"values": [*held, *([args["value"]] if undo else [])]}
        if command == "get":
            return {"value": list(held)}
        if command == "cleanup_session":
            self.state.pop(str(session), None)
            return {"status": "cleaned"}
        raise CommandError(f"unknown command {command!r}")

    def execute_in_session(self, session_id: str, command: str, args: Any = None, **limits: Any) -> Any:
        return self.execute(command, args, session=session_id, **limits)

    def execute_anonymous(self, command: str, args: Any = None, **limits: Any) -> Any:
        return self.execute(command, args, **limits)

    def end_session(self, session_id: str) -> bool:
        if self.dead:
            raise PoolClosed(f"{self.name} is dead")
        return self.state.pop(session_id, None) is not None

    def sessions(self) -> tuple[SessionStatus, ...]:
        return tuple(
            SessionStatus(session_id=name, operations=len(held), version=len(held), worker_id=1)
            for name, held in self.state.items()
        )

    def status(self) -> PoolStatus:
        return PoolStatus(
            name=self.name,
            version=self.version,
            state="closed" if self.closed else "open",
            target=1,
            workers=(),
            waiting=0,
            sessions=len(self.state),
            statistics=Statistics(submitted=len(self.asked), in_flight=0, outcomes={"result": len(self.asked)}),
        )

    def health_check(self) -> Health:
        return Health(healthy=not self.dead, live=1, target=1, reasons=("it is dead",) if self.dead else ())

    def warm_up(self, n: int | None = None) -> int:
        return 1

    def close(self, grace_s: float | None = None) -> None:
        self.closed += 1

    def __enter__(self) -> ScriptedPool:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


Pair = tuple[MigratingPool, ScriptedPool, ScriptedPool]


@pytest.fixture
def gate() -> type[Gate]:
    """The class of gates."""
    return Gate


@pytest.fixture
def scripted() -> type[ScriptedPool]:
    """The class of scripted pools."""
    return ScriptedPool


@pytest.fixture
def migrating() -> Iterator[Callable[..., Pair]]:
    """Make a migrating pool over two scripted ones from a plan's options; closed at the end."""
    made: list[MigratingPool] = []

    def make(*, comparing: Any = None, on_change: Any = None, **options: Any) -> Pair:
        v1, v2 = ScriptedPool("v1"), ScriptedPool("v2")
        made.append(MigratingPool(v1, v2, Plan(**options), comparing=comparing, on_change=on_change))
        return made[-1], v1, v2

    yield make
    for pool in made:
        pool.close(0.0)

"""What the tests of the harness share: literal histories, pools that are no pools, and waiting with a hard limit."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from poolproof.bridge import (
    Capability,
    Event,
    EventKind,
    Health,
    Observer,
    PoolStatus,
    ServiceInterval,
    SessionStatus,
    Statistics,
)
from poolproof.bridge.clock import now_ns
from poolproof.harness.checkers import OneOutcome
from poolproof.harness.history.history import History, Op, OpType, RunInfo
from poolproof.harness.model.fault import FaultKind, FaultRecord
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.workload import Size, steady
from poolproof.harness.run.runner import Subject

HANG_GUARD_S = 15.0
BASE_NS = 1_000_000_000_000
TYPES = {"result": OpType.OK, "CommandError": OpType.FAIL, "CheckoutTimeout": OpType.FAIL, "PoolClosed": OpType.FAIL}


def at(ms: float) -> int:
    """A moment of a literal history: so many milliseconds after its begin."""
    return BASE_NS + round(ms * 1e6)


class Build:
    """Makes the parts of literal histories. Times are milliseconds since the run's begin."""

    at = staticmethod(at)

    def info(self, **fields: Any) -> RunInfo:
        usual: dict[str, Any] = {
            "scenario": "literal",
            "pool": "v2",
            "pool_name": "literal-v2",
            "seed": 1,
            "workers": 2,
            "clients": 2,
            "profile": "quick",
            "started_at": "2026-01-01T00:00:00+00:00",
            "started_ns": BASE_NS,
            "call_timeout_s": 5.0,
            "capabilities": ("request_ids",),
            "checkout_timeout_s": 1.0,
        }
        return RunInfo(**{**usual, **fields})

    def op(self, index: int, start: float = 0.0, end: float | None = 10.0, **fields: Any) -> Op:
        """A call from `start` to `end` ms (None: it never ended); by default an echo with its own answer."""
        nonce = f"1.0.{index}"
        command = fields.setdefault("command", "echo")
        args = fields.setdefault("args", {"nonce": nonce})
        outcome = fields.setdefault("outcome", "pending" if end is None else "result")
        if outcome == "result" and command == "echo":
            fields.setdefault("value", args.get("value", args))
        fields.setdefault("type", TYPES.get(outcome, OpType.INFO))
        fields.setdefault("sent", "yes" if outcome == "result" else "maybe")
        fields.setdefault("completions", 0 if end is None else 1)
        fields.setdefault("client", 0)
        fields.setdefault("nonce", nonce)
        return Op(
            index=index,
            intended_ns=at(fields.pop("intended", start)),
            invoked_ns=at(start),
            completed_ns=None if end is None else at(end),
            **fields,
        )

    def event(
        self,
        kind: EventKind,
        ms: float,
        *,
        call: int | None = None,
        worker: int | None = None,
        pid: int | None = None,
        detail: str = "",
    ) -> Event:
        return Event(kind, at(ms), call, worker, pid, detail)

    def lease(self, worker: int, call: int, start: float, end: float) -> tuple[Event, ...]:
        """One whole exchange of a call with a worker."""
        kinds = (EventKind.ACCEPT, EventKind.SEND, EventKind.RECEIVE, EventKind.CHECKIN)
        step = (end - start) / 3
        return tuple(
            self.event(kind, start + number * step, call=call, worker=worker, pid=100 + worker)
            for number, kind in enumerate(kinds)
        )

    def service(
        self, pid: int, request_id: int, start: float, end: float | None, *, nonce: str | None = None, **fields: Any
    ) -> ServiceInterval:
        return ServiceInterval(
            worker_id=fields.pop("worker_id", pid - 100),
            pid=pid,
            request_id=request_id,
            command=fields.pop("command", "echo"),
            nonce=nonce,
            start_ns=at(start),
            end_ns=None if end is None else at(end),
            ok=None if end is None else True,
        )

    def fault(self, kind: FaultKind, *, landed: bool = True, ms: float = 0.0, detail: str = "") -> FaultRecord:
        return FaultRecord(kind=kind, at_ns=at(ms), landed=landed, detail=detail)

    def history(self, *ops: Op, **fields: Any) -> History:
        info = self.info(**fields.pop("info", {}))
        for mark in ("begun", "ended", "close_began", "close_ended"):
            if mark in fields:
                fields[f"{mark}_ns"] = at(fields.pop(mark))
        for many in ("events", "services", "faults"):
            if many in fields:
                fields[many] = tuple(fields[many])
        fields.setdefault("finished", True)
        return History(**{"info": info, "ops": ops, **fields})


@pytest.fixture
def build() -> Build:
    """Parts of literal histories."""
    return Build()


@pytest.fixture
def gone(until: Callable[..., None]) -> Callable[..., None]:
    """Wait until none of these processes is left; a zombie is gone."""

    def lives(pid: int) -> bool:
        try:
            return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def wait(*pids: int, timeout_s: float = HANG_GUARD_S) -> None:
        until(lambda: not any(map(lives, pids)), f"processes {pids} end", timeout_s=timeout_s)

    return wait


class FakePool:
    """A pool without workers: `answer(command, args)` in the calling thread, with the events that a pool tells of."""

    version = "fake"
    name = "fake"

    def __init__(
        self,
        observer: Observer | None = None,
        *,
        answer: Callable[[str, dict[str, Any]], Any] | None = None,
        pid: int = 0,
    ) -> None:
        self.capabilities: frozenset[Capability] = frozenset()
        self.closed: list[float | None] = []
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.pid = pid
        self.on_sent: Callable[[], None] = lambda: None
        self._answer = answer or (lambda command, args: args.get("value", args))
        self._observer = observer or (lambda event: None)
        self._calls = 0
        self._outcomes: dict[str, int] = {}
        self._lock = threading.Lock()

    def _tell(self, kind: EventKind, call: int) -> None:
        self._observer(Event(kind, now_ns(), call, 1, self.pid))

    def execute(
        self,
        command: str,
        args: dict[str, Any] | None = None,
        *,
        session: str | None = None,
        timeout_s: float | None = None,
        checkout_timeout_s: float | None = None,
    ) -> Any:
        with self._lock:
            self._calls += 1
            call = self._calls
        self.asked.append((command, args or {}))
        self._tell(EventKind.ENQUEUE, call)
        outcome = "result"
        try:
            self._tell(EventKind.ACCEPT, call)
            self._tell(EventKind.SEND, call)
            self.on_sent()
            value = self._answer(command, args or {})
            self._tell(EventKind.RECEIVE, call)
            self._tell(EventKind.CHECKIN, call)
            return value
        except BaseException as error:
            outcome = type(error).__name__
            raise
        finally:
            with self._lock:
                self._outcomes[outcome] = self._outcomes.get(outcome, 0) + 1
            self._tell(EventKind.DONE, call)

    def execute_in_session(self, session_id: str, command: str, args: Any = None, **limits: Any) -> Any:
        return self.execute(command, args, session=session_id, **limits)

    def execute_anonymous(self, command: str, args: Any = None, **limits: Any) -> Any:
        return self.execute(command, args, **limits)

    def end_session(self, session_id: str) -> bool:
        return False

    def sessions(self) -> tuple[SessionStatus, ...]:
        return ()

    def status(self) -> PoolStatus:
        with self._lock:
            done = sum(self._outcomes.values())
            statistics = Statistics(submitted=self._calls, in_flight=self._calls - done, outcomes=dict(self._outcomes))
        return PoolStatus(
            name="fake",
            version="fake",
            state="open",
            target=1,
            workers=(),
            waiting=0,
            sessions=0,
            statistics=statistics,
        )

    def health_check(self) -> Health:
        return Health(healthy=True, live=0, target=0)

    def warm_up(self, n: int | None = None) -> int:
        return 0

    def close(self, grace_s: float | None = None) -> None:
        self.closed.append(grace_s)


@pytest.fixture
def fake_pool() -> type[FakePool]:
    """The class of pools without workers."""
    return FakePool


@pytest.fixture
def fake_subject() -> Callable[..., Subject]:
    """A subject whose pools are fake."""

    def make(**fields: Any) -> Subject:
        usual: dict[str, Any] = {
            "name": "fake",
            "summary": "no pool at all",
            "make": lambda config, observer: FakePool(observer),
            "capabilities": frozenset(),
            "call_timeout_s": 5.0,
            "checkout_timeout_s": 5.0,
        }
        return Subject(**{**usual, **fields})

    return make


@pytest.fixture
def tiny() -> Callable[..., Scenario]:
    """A scenario of a few echoes on one worker; fields as given."""

    def make(**fields: Any) -> Scenario:
        usual: dict[str, Any] = {
            "name": "tiny",
            "summary": "a few echoes",
            "workload": steady("echo", calls=2),
            "checkers": (OneOutcome(),),
            "fixed_size": Size(workers=1, clients=2),
            "budget_s": 10.0,
        }
        return Scenario(**{**usual, **fields})

    return make


SCENARIO_FILE = '''
"""A user's own scenario."""

import sys

from poolproof.harness.checkers import OneOutcome
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.workload import Size, steady

{head}
SCENARIO = Scenario(
    name="own",
    summary="a user's own",
    workload=steady({command!r}, {args!r}, calls={calls}),
    commands=({command!r},),
    checkers=(OneOutcome(),),
    fixed_size=Size(workers=1, clients=1),
    budget_s=30.0,
)
'''


@pytest.fixture
def scenario_file(tmp_path: Path) -> Callable[..., Path]:
    """Write a file with the scenario `own`: one client that makes `calls` equal calls on one worker."""

    def write(command: str = "echo", args: dict[str, Any] | None = None, *, calls: int = 2, head: str = "") -> Path:
        path = tmp_path / "own.py"
        path.write_text(SCENARIO_FILE.format(command=command, args=args or {}, calls=calls, head=head))
        return path

    return write


@pytest.fixture
def runtime_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A runtime directory that belongs to this test alone."""
    path = tmp_path / "runtime"
    path.mkdir(mode=0o700)
    monkeypatch.setenv("POOLPROOF_RUNTIME_DIR", str(path))
    monkeypatch.delenv("POOLPROOF_GATE_DIR", raising=False)
    return path

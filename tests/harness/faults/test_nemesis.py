"""The nemesis inflicts each fault at its moment, signals only children of this process, and tells what landed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from poolproof.bridge import Event, EventKind
from poolproof.bridge.clock import now_ns
from poolproof.harness.faults.nemesis import Nemesis
from poolproof.harness.faults.stage import Stage
from poolproof.harness.history.codec import build_history
from poolproof.harness.model.fault import Fault, FaultKind, FaultRecord
from poolproof.harness.model.workload import Step
from poolproof.harness.run.recording.recorder import Recorder, Running
from poolproof.harness.run.recording.worker_tracker import WorkerTracker

LIMIT_S = 15.0
STEP = Step(command="sleep", label="victim")
KILL = Fault(kind=FaultKind.KILL, when="victim:sent")


class Theatre:
    """A recorder, a fake pool, and processes to hurt."""

    def __init__(self, path: Path, pool: type, build: Any) -> None:
        self.recorder = Recorder(path)
        self.pool = pool()
        self.stop = threading.Event()
        self.roll = WorkerTracker()
        self.more: dict[str, Any] = {}
        self.children: list[subprocess.Popen[bytes]] = []
        self._path, self._build = path, build

    def child(self) -> subprocess.Popen[bytes]:
        child = subprocess.Popen([sys.executable, "-c", "import threading; threading.Event().wait()"])
        self.children.append(child)
        return child

    def send(self, pid: int | None, *, answered: bool = False) -> Running:
        """The victim's call reaches the worker with this pid."""
        running = self.recorder.invoke(STEP, self._build.op(0, 0, None, label="victim"))
        self.recorder.observe(Event(EventKind.ENQUEUE, now_ns(), 1))
        if answered:
            running.received_ns = now_ns()
        self.recorder.observe(Event(EventKind.SEND, now_ns(), 1, 4, pid))
        return running

    def strike(self, *faults: Fault, begin: Callable[[], Any] = lambda: None) -> tuple[FaultRecord, ...]:
        nemesis = self.nemesis(*faults)
        begin()
        nemesis.start()
        assert nemesis.join(LIMIT_S)
        return self.records()

    def nemesis(self, *faults: Fault) -> Nemesis:
        for fault in faults:
            if fault.when:
                self.recorder.moment(fault.when)
        stage = Stage(pool=self.pool, recorder=self.recorder, stop=self.stop, roll=self.roll, **self.more)
        return Nemesis(faults, stage, begin_ns=now_ns())

    def records(self) -> tuple[FaultRecord, ...]:
        self.recorder.close()
        return build_history(self._build.info(), self._path.read_bytes().splitlines(), []).faults


@pytest.fixture
def stage(tmp_path: Path, fake_pool: type, build: Any) -> Iterator[Theatre]:
    """A stage whose children are gone afterwards."""
    stage = Theatre(tmp_path / "history.jsonl", fake_pool, build)
    yield stage
    stage.stop.set()
    stage.recorder.close()
    for child in stage.children:
        child.kill()
        child.wait(LIMIT_S)


def test_a_kill_reaches_the_worker_that_serves_the_victim(stage: Theatre) -> None:
    child = stage.child()
    (record,) = stage.strike(KILL, begin=lambda: stage.send(child.pid))
    assert (record.kind, record.landed, record.worker, record.pid) == (FaultKind.KILL, True, 4, child.pid)
    assert child.wait(LIMIT_S) == -signal.SIGKILL


def test_a_kill_lasts_until_its_worker_has_ended(stage: Theatre, monkeypatch: pytest.MonkeyPatch) -> None:
    child = stage.child()
    real, sent = signal.pidfd_send_signal, threading.Event()

    def dying(pidfd: int, number: int) -> None:  # a large process is still at work for a while
        own = os.dup(pidfd)

        def die() -> None:
            sent.wait(LIMIT_S)
            real(own, number)
            os.close(own)

        threading.Thread(target=die, daemon=True).start()

    monkeypatch.setattr(signal, "pidfd_send_signal", dying)
    nemesis = stage.nemesis(KILL)
    stage.send(child.pid)
    nemesis.start()
    assert not nemesis.join(0.3)
    assert child.poll() is None
    sent.set()

    assert nemesis.join(LIMIT_S)
    assert child.wait(LIMIT_S) == -signal.SIGKILL
    assert [record.landed for record in stage.records()] == [True]


def test_a_stop_lasts_until_the_run_is_over_at_most(stage: Theatre, until: Callable[..., None]) -> None:
    child = stage.child()
    nemesis = stage.nemesis(Fault(kind=FaultKind.STOP, when="victim:sent", for_s=3600))
    stage.send(child.pid)
    nemesis.start()
    process = psutil.Process(child.pid)
    until(lambda: process.status() == psutil.STATUS_STOPPED, "the worker is stopped")
    assert not nemesis.join(0.0)
    stage.stop.set()
    assert nemesis.join(LIMIT_S)
    until(lambda: process.status() != psutil.STATUS_STOPPED, "the worker goes on")
    assert [record.landed for record in stage.records()] == [True]


def test_a_stopped_worker_that_the_pool_has_replaced_needs_no_continuing(stage: Theatre) -> None:
    child = stage.child()
    nemesis = stage.nemesis(Fault(kind=FaultKind.STOP, when="victim:sent", for_s=3600))
    stage.send(child.pid)
    nemesis.start()
    process = psutil.Process(child.pid)
    while process.status() != psutil.STATUS_STOPPED:
        assert not nemesis.join(0.005)
    child.kill()
    child.wait(LIMIT_S)
    stage.stop.set()
    assert nemesis.join(LIMIT_S)
    assert [record.landed for record in stage.records()] == [True]


def test_a_fault_after_the_victims_answer_did_not_land(stage: Theatre) -> None:
    child = stage.child()
    (record,) = stage.strike(KILL, begin=lambda: stage.send(child.pid, answered=True))
    assert (record.landed, record.detail) == (False, "the call had ended already")
    assert child.poll() is None, "it would have hit another call"


def test_a_fault_whose_moment_never_came_did_not_land(stage: Theatre) -> None:
    stage.stop.set()
    (record,) = stage.strike(KILL)
    assert (record.landed, record.detail) == (False, "the moment for the fault ('victim:sent') never came")


def test_a_fault_that_was_still_to_come_when_the_run_was_over_did_not_land(stage: Theatre) -> None:
    child = stage.child()
    late = (
        Fault(kind=FaultKind.KILL, when="victim:sent", after_s=3600),
        Fault(kind=FaultKind.CLOSE, after_s=3600),
    )
    nemesis = stage.nemesis(*late)
    stage.send(child.pid)
    nemesis.start()
    stage.stop.set()
    assert nemesis.join(LIMIT_S)
    assert [(r.landed, r.detail) for r in stage.records()] == [
        (False, "the run ended before the moment for the fault")
    ] * 2
    assert child.poll() is None
    assert stage.pool.closed == []


def test_a_victim_without_a_known_worker_cannot_be_hurt(stage: Theatre) -> None:
    (record,) = stage.strike(KILL, begin=lambda: stage.send(None))
    assert (record.landed, record.detail) == (False, "no worker was known to be busy")


def test_a_fault_at_a_time_without_any_busy_worker_did_not_land(stage: Theatre) -> None:
    nemesis = stage.nemesis(Fault(kind=FaultKind.KILL))
    nemesis.start()
    stage.stop.set()
    assert nemesis.join(LIMIT_S)
    (record,) = stage.records()
    assert (record.landed, record.pid) == (False, None)


def test_a_fault_at_a_time_waits_for_a_busy_worker_and_hits_the_one_that_is_busy_longest(stage: Theatre) -> None:
    nemesis = stage.nemesis(Fault(kind=FaultKind.KILL, after_s=0.01))
    nemesis.start()
    first, second = stage.child(), stage.child()
    for worker, child in ((1, first), (2, second)):
        stage.roll.observe(Event(EventKind.SEND, now_ns(), worker, worker, child.pid))
    assert nemesis.join(LIMIT_S)
    (record,) = stage.records()
    assert (record.landed, record.worker, record.pid) == (True, 1, first.pid)
    assert first.wait(LIMIT_S) == -signal.SIGKILL
    assert second.poll() is None


def test_a_fault_at_a_time_leaves_alone_one_that_cannot_be_hit(stage: Theatre) -> None:
    stage.roll.observe(Event(EventKind.SEND, now_ns(), 1, 1, os.getppid()))
    nemesis = stage.nemesis(Fault(kind=FaultKind.KILL))
    nemesis.start()
    assert not nemesis.join(0.05)
    stage.stop.set()
    assert nemesis.join(LIMIT_S)
    assert [record.landed for record in stage.records()] == [False]


class FakeClient:
    """A client that can be hit, or not."""

    def __init__(self, number: int, *, in_call: bool = True) -> None:
        self.number = number
        self.blows: list[type[BaseException]] = []
        self._in_call = in_call

    def strike(self, blow: type[BaseException]) -> bool:
        self.blows.append(blow)
        return self._in_call


@pytest.mark.parametrize(
    ("kind", "blow"), [(FaultKind.CLIENT_INTERRUPT, KeyboardInterrupt), (FaultKind.CLIENT_DEATH, SystemExit)]
)
def test_the_client_of_the_victims_call_is_hit(stage: Theatre, kind: FaultKind, blow: type[BaseException]) -> None:
    client = stage.more["main_client"] = FakeClient(0)
    (record,) = stage.strike(Fault(kind=kind, when="victim:sent"), begin=lambda: stage.send(123))
    assert (record.landed, record.pid, record.detail) == (True, 123, "client 0")
    assert client.blows == [blow]


@pytest.mark.parametrize("client", [None, FakeClient(3), FakeClient(0, in_call=False)])
def test_a_client_that_cannot_be_hit_in_its_call_was_not_hit(stage: Theatre, client: FakeClient | None) -> None:
    stage.more["main_client"] = client
    fault = Fault(kind=FaultKind.CLIENT_DEATH, when="victim:sent")
    (record,) = stage.strike(fault, begin=lambda: stage.send(123))
    assert record.landed is False


def test_a_fault_that_breaks_did_not_land(stage: Theatre, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(grace_s: float) -> None:
        raise RuntimeError("no close today")

    monkeypatch.setattr(stage.pool, "close", broken)
    records = stage.strike(Fault(kind=FaultKind.CLOSE))
    assert [(record.landed, record.detail) for record in records] == [
        (True, "close()"),
        (False, "RuntimeError: no close today"),
    ]


def test_no_stranger_is_ever_signalled(stage: Theatre) -> None:
    (record,) = stage.strike(KILL, begin=lambda: stage.send(os.getppid()))
    assert record.landed is False
    assert "was not started by this process or its children" in record.detail


def test_a_worker_that_is_gone_cannot_be_hurt(stage: Theatre) -> None:
    child = stage.child()
    child.kill()
    child.wait(LIMIT_S)
    (record,) = stage.strike(KILL, begin=lambda: stage.send(child.pid))
    assert record.landed is False


def test_a_worker_that_died_by_itself_was_not_hurt(stage: Theatre, until: Callable[..., None]) -> None:
    child = stage.child()
    os.kill(child.pid, signal.SIGTERM)
    process = psutil.Process(child.pid)
    until(lambda: process.status() == psutil.STATUS_ZOMBIE, "the child ends")
    (record,) = stage.strike(KILL, begin=lambda: stage.send(child.pid))
    assert (record.landed, record.detail) == (False, f"process {child.pid} had ended already")


def test_a_worker_that_dies_just_before_the_signal_was_not_hurt(
    stage: Theatre, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = stage.child()

    def too_late(pidfd: int, number: int) -> None:
        raise ProcessLookupError(3, "No such process")

    monkeypatch.setattr(signal, "pidfd_send_signal", too_late)
    (record,) = stage.strike(KILL, begin=lambda: stage.send(child.pid))
    assert (record.landed, record.detail) == (False, f"process {child.pid} had ended already")


def test_a_close_closes_the_pool_and_marks_it(stage: Theatre, build: Any) -> None:
    (record,) = stage.strike(Fault(kind=FaultKind.CLOSE, for_s=2.5))
    assert (record.kind, record.landed) == (FaultKind.CLOSE, True)
    assert stage.pool.closed == [2.5]
    history = build_history(build.info(), stage._path.read_bytes().splitlines(), [])
    assert history.close_began_ns is not None
    assert history.close_ended_ns is not None
    assert history.close_began_ns <= history.close_ended_ns


def test_a_fault_at_a_time_comes_no_earlier(stage: Theatre) -> None:
    begun = now_ns()
    (record,) = stage.strike(Fault(kind=FaultKind.CLOSE, after_s=0.05))
    assert record.at_ns - begun >= 45_000_000


def test_faults_of_starts_and_commands_are_left_to_others(stage: Theatre) -> None:
    assert stage.strike(Fault(kind=FaultKind.SLOW_START), Fault(kind=FaultKind.EXIT)) == ()


def test_a_worker_below_a_driver_can_be_hurt(stage: Theatre, until: Callable[..., None]) -> None:
    code = "import subprocess, sys; subprocess.run(['sleep', '60'])"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}])"
    driver = subprocess.Popen([sys.executable, "-c", outer])
    try:
        until(lambda: len(psutil.Process(driver.pid).children(recursive=True)) == 2, "the worker is started")
        worker = psutil.Process(driver.pid).children(recursive=True)[-1]
        (record,) = stage.strike(KILL, begin=lambda: stage.send(worker.pid))
        assert (record.landed, record.pid) == (True, worker.pid)
        assert driver.wait(LIMIT_S) == 0
    finally:
        driver.kill()
        driver.wait()

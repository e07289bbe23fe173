"""Injects the planned faults into a running pool, each at its moment, and records the results.

Faults of a worker's start and faults by a command are injected elsewhere. The nemesis signals only children of this
process.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from functools import partial

import psutil

from poolproof.bridge.clock import now_ns
from poolproof.harness.faults.injuries import INJURIES
from poolproof.harness.faults.stage import Stage
from poolproof.harness.model.fault import CLIENT_FAULTS, COMMAND_FAULTS, START_FAULTS, Fault, FaultKind
from poolproof.harness.run.recording.recorder import Running

WAIT_SLICE_S = 0.02
LOOK_EVERY_S = 0.002
LONGEST_DEATH_S = 10.0
BLOWS: dict[FaultKind, type[BaseException]] = {
    FaultKind.CLIENT_INTERRUPT: KeyboardInterrupt,
    FaultKind.CLIENT_DEATH: SystemExit,
}


class Nemesis:
    """Runs one thread per fault. The stage's `stop` ends the threads that still wait; their faults did not land."""

    def __init__(self, faults: tuple[Fault, ...], stage: Stage, *, begin_ns: int) -> None:
        self._stage = stage
        self._begin_ns = begin_ns
        own = [fault for fault in faults if fault.kind not in START_FAULTS | COMMAND_FAULTS]
        self._threads = [
            threading.Thread(target=self._strike, args=(fault,), name=f"nemesis-{fault.kind}", daemon=True)
            for fault in own
        ]

    def start(self) -> None:
        """Start the threads, which wait for their moments."""
        for thread in self._threads:
            thread.start()

    def join(self, timeout_s: float) -> bool:
        """Wait until every fault was injected and lifted, or abandoned; return whether that happened in time."""
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _strike(self, fault: Fault) -> None:
        stage, victim = self._stage, None
        if fault.when:
            moment = stage.recorder.moment(fault.when)
            while not moment.passed.wait(WAIT_SLICE_S):
                if stage.stop.is_set():
                    stage.tell(fault, landed=False, detail=f"the moment for the fault ({fault.when!r}) never came")
                    return
            victim = moment.running
        begin_ns = now_ns() if fault.when else self._begin_ns
        if stage.stop.wait(max(0.0, fault.after_s - (now_ns() - begin_ns) / 1e9)):
            stage.tell(fault, landed=False, detail="the run ended before the moment for the fault")
            return
        try:
            if fault.kind in INJURIES:
                INJURIES[fault.kind](fault, stage)
            elif fault.kind in CLIENT_FAULTS:
                self._hit_client(fault, victim)
            else:
                self._hit_worker(fault, victim)
        except Exception as error:
            stage.tell(fault, landed=False, detail=f"{type(error).__name__}: {error}")

    def _hit_client(self, fault: Fault, victim: Running | None) -> None:
        client = self._stage.main_client
        if victim is None or client is None or victim.begun.client != client.number:
            self._stage.tell(fault, landed=False, detail="the victim's client is not in the main thread")
            return
        landed = client.strike(BLOWS[fault.kind])
        self._stage.tell(
            fault,
            landed=landed,
            worker=victim.worker,
            pid=victim.pid,
            detail=f"client {client.number}" if landed else "the call had ended already",
        )

    def _hit_worker(self, fault: Fault, victim: Running | None) -> None:
        if not fault.when:
            self._hit_busiest(fault)
        elif victim is None or victim.pid is None:
            self._stage.tell(fault, landed=False, detail="no worker was known to be busy")
        else:
            self._hit(fault, victim.pid, victim.worker, lambda: self._in_call(victim))

    def _in_call(self, victim: Running) -> bool:
        self._stage.look()
        return victim.received_ns is None and victim.completed_ns is None

    def _busy(self, pid: int) -> bool:
        self._stage.look()
        return self._stage.roll.busy(pid)

    def _hit_busiest(self, fault: Fault) -> None:
        # At the moment of the fault each worker may be between two calls: the next busy worker is the victim.
        stage = self._stage
        while True:
            found = stage.roll.busiest()
            if found is not None:
                pid, worker = found
                if self._hit(fault, pid, worker, partial(self._busy, pid), only_busy=True):
                    return
                stage.roll.end(pid)  # the worker has answered or ended, so it is not busy any more
            if stage.stop.wait(LOOK_EVERY_S):
                stage.tell(fault, landed=False, detail="no worker was known to be busy")
                return

    def _hit(
        self, fault: Fault, pid: int, worker: int | None, busy: Callable[[], bool], *, only_busy: bool = False
    ) -> bool:
        # Returns whether the signal was sent. It is sent only during the victim's call, since later it would hit
        # another call. With `only_busy` nothing is recorded unless the signal was sent.
        stage = self._stage
        try:
            pidfd = _pin_child(pid)
        except (psutil.NoSuchProcess, ProcessLookupError) as error:
            if not only_busy:
                stage.tell(fault, landed=False, worker=worker, pid=pid, detail=str(error))
            return False
        try:
            if not busy():
                if not only_busy:
                    stage.tell(fault, landed=False, worker=worker, pid=pid, detail="the call had ended already")
                return False
            signal.pidfd_send_signal(pidfd, signal.SIGKILL if fault.kind is FaultKind.KILL else signal.SIGSTOP)
            stage.tell(fault, landed=True, worker=worker, pid=pid)
            if fault.kind is FaultKind.KILL:
                _await_end(pidfd)
            elif fault.kind is FaultKind.STOP:
                stage.stop.wait(fault.for_s)
                with contextlib.suppress(ProcessLookupError):  # the pool may have replaced the stopped worker
                    signal.pidfd_send_signal(pidfd, signal.SIGCONT)
            return True
        except ProcessLookupError:
            if not only_busy:
                detail = f"process {pid} had ended already"
                stage.tell(fault, landed=False, worker=worker, pid=pid, detail=detail)
            return False
        finally:
            os.close(pidfd)


def _await_end(pidfd: int) -> None:
    # A large process takes some milliseconds to die; until then the fault lasts and could hit a call after the last.
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.poll(LONGEST_DEATH_S * 1000)


def _pin_child(pid: int) -> int:
    # Returns a pidfd, so that no other process can get the signal. Raises if `pid` is no living process below this
    # one: the workers of a zygote or of a driver are not its own children.
    process = psutil.Process(pid)
    if all(parent.pid != os.getpid() for parent in process.parents()):
        raise ProcessLookupError(f"process {pid} was not started by this process or its children")
    if process.status() == psutil.STATUS_ZOMBIE:
        raise ProcessLookupError(f"process {pid} had ended already")
    return os.pidfd_open(pid)

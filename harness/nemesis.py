"""Inflicts the planned faults on a running pool, each at its moment, and records what came of it.

Faults of a worker's start and of a command are not its business. It signals only children of this process.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time

import psutil

from bridge import Pool
from bridge.clock import now_ns
from harness.fault import COMMAND_FAULTS, START_FAULTS, Fault, FaultKind, FaultRecord
from harness.recorder import Recorder, Running

WAIT_SLICE_S = 0.02
CLOSE_GRACE_S = 5.0


class Nemesis:
    """One thread for each fault. `stop` ends those that still wait for their moment; their faults did not land."""

    def __init__(
        self, faults: tuple[Fault, ...], *, pool: Pool, recorder: Recorder, begin_ns: int, stop: threading.Event
    ) -> None:
        self._pool = pool
        self._recorder = recorder
        self._begin_ns = begin_ns
        self._stop = stop
        own = [fault for fault in faults if fault.kind not in START_FAULTS | COMMAND_FAULTS]
        self._threads = [
            threading.Thread(target=self._strike, args=(fault,), name=f"nemesis-{fault.kind}", daemon=True)
            for fault in own
        ]

    def start(self) -> None:
        """Begin to wait for the moments."""
        for thread in self._threads:
            thread.start()

    def join(self, timeout_s: float) -> bool:
        """Wait until every fault was inflicted or given up; whether that is so."""
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _strike(self, fault: Fault) -> None:
        victim: Running | None = None
        if fault.when:
            moment = self._recorder.moment(fault.when)
            while not moment.passed.wait(WAIT_SLICE_S):
                if self._stop.is_set():
                    self._record(fault, landed=False, detail=f"the moment {fault.when!r} never came")
                    return
            victim = moment.running
        begin_ns = now_ns() if fault.when else self._begin_ns
        if self._stop.wait(max(0.0, fault.after_s - (now_ns() - begin_ns) / 1e9)):
            self._record(fault, landed=False, detail="the run was over before its moment")
            return
        if fault.kind is FaultKind.CLOSE:
            self._close(fault)
        elif victim is None or victim.pid is None:
            self._record(fault, landed=False, detail="no worker was known to be busy")
        else:
            self._signal(fault, victim, victim.pid)

    def _close(self, fault: Fault) -> None:
        self._record(fault, landed=True, detail="close()")
        self._recorder.mark("close_began")
        self._pool.close(fault.for_s or CLOSE_GRACE_S)
        self._recorder.mark("close_ended")

    def _signal(self, fault: Fault, victim: Running, pid: int) -> None:
        try:
            pidfd = _pin_child(pid)
        except (psutil.NoSuchProcess, ProcessLookupError) as error:
            self._record(fault, landed=False, victim=victim, detail=str(error))
            return
        try:
            busy = victim.received_ns is None
            number = signal.SIGKILL if fault.kind is FaultKind.KILL else signal.SIGSTOP
            signal.pidfd_send_signal(pidfd, number)
            self._record(fault, landed=busy, victim=victim, detail="" if busy else "its call was over already")
            if fault.kind is FaultKind.STOP:
                self._stop.wait(fault.for_s)
                with contextlib.suppress(ProcessLookupError):  # the pool has replaced it, which is its right
                    signal.pidfd_send_signal(pidfd, signal.SIGCONT)
        except ProcessLookupError:
            self._record(fault, landed=False, victim=victim, detail=f"process {pid} had ended already")
        finally:
            os.close(pidfd)

    def _record(self, fault: Fault, *, landed: bool, victim: Running | None = None, detail: str = "") -> None:
        self._recorder.fault(
            FaultRecord(
                kind=fault.kind,
                at_ns=now_ns(),
                landed=landed,
                worker=None if victim is None else victim.worker,
                pid=None if victim is None else victim.pid,
                detail=detail,
            )
        )


def _pin_child(pid: int) -> int:
    # A pidfd, so that the signal can reach nobody else. Raises if it is no living child of this process.
    process = psutil.Process(pid)
    if process.ppid() != os.getpid():
        raise ProcessLookupError(f"process {pid} is no child of this one")
    if process.status() == psutil.STATUS_ZOMBIE:
        raise ProcessLookupError(f"process {pid} had ended already")
    return os.pidfd_open(pid)

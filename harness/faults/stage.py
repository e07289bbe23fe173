"""The stage of a run: the objects that faults act on, and the record of what each fault did."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from poolproof.bridge import Observer, Pool, PoolConfig, PoolStatus
from poolproof.bridge.clock import now_ns
from poolproof.harness.fakes.models.loopback import LoopbackModels
from poolproof.harness.model.fault import Fault, FaultRecord
from poolproof.harness.run.recording.recorder import Recorder
from poolproof.harness.run.recording.worker_tracker import WorkerTracker


class Victim(Protocol):
    """A client whose call a fault can interrupt."""

    number: int

    def strike(self, blow: type[BaseException]) -> bool:
        """Raise the exception `blow` in the client's thread. Returns whether the client was in a call."""
        ...


@runtime_checkable
class Resizable(Protocol):
    """A pool whose size can be changed while it lives."""

    def status(self) -> PoolStatus:
        """Return a consistent snapshot of the pool."""
        ...

    def resize(self, n: int) -> None:
        """Change the pool's size to `n` workers. Never waits, and interrupts no call."""
        ...


@runtime_checkable
class Drainable(Protocol):
    """A pool that can finish what it has begun before it closes."""

    def drain(self, timeout_s: float | None = None) -> bool:
        """Refuse new calls, let those that have begun end within `timeout_s` seconds, and close the pool."""
        ...


@dataclass(frozen=True, kw_only=True)
class Stage:
    """The objects that faults act on. `make` and `config` make a second pool of the kind; `subject` is the kind's name.

    `main_client` is the client in the main thread, the only thread in which a signal can raise an exception. `pids`
    collects processes that must be gone at the end. `models` is the scenario's model server, if it has one. `close`
    closes the object that the clients call, and `look` reads the new entries of the workers' journals. While
    a fault has changed the pool's size, it holds the lock `resizing`.
    """

    pool: Pool
    recorder: Recorder
    stop: threading.Event
    roll: WorkerTracker = field(default_factory=WorkerTracker)
    config: PoolConfig | None = None
    make: Callable[[PoolConfig, Observer | None], Pool] | None = None
    subject: str = ""
    main_client: Victim | None = None
    pids: set[int] = field(default_factory=set)
    models: LoopbackModels | None = None
    close: Callable[[float], None] | None = None
    look: Callable[[], None] = lambda: None
    resizing: threading.Lock = field(default_factory=threading.Lock)

    def tell(
        self,
        fault: Fault,
        *,
        landed: bool,
        worker: int | None = None,
        pid: int | None = None,
        detail: str = "",
        seen: str = "",
    ) -> None:
        """Record the result of a fault, and release the clients that wait for it."""
        self.recorder.fault(
            FaultRecord(
                kind=fault.kind, at_ns=now_ns(), landed=landed, worker=worker, pid=pid, detail=detail, seen=seen
            )
        )
        self.recorder.moment(f"{fault.kind}:landed").passed.set()

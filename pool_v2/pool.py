"""PoolV2: the common pool interface on top of the V2 engine.

Turns options and timeouts into deadlines and returns one result or raises one error per call. Contains no locks and no
process handling. If the pool object is dropped without `close`, its workers are ended in the background.
"""

from __future__ import annotations

import signal
import weakref
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

from poolproof.bridge import (
    Capability,
    CircuitOpen,
    Health,
    Observer,
    PoolConfig,
    PoolStatus,
    SessionStatus,
    StartFailed,
)
from poolproof.bridge.clock import deadline_ns, now_ns
from poolproof.bridge.session_calls import SessionCalls
from poolproof.bridge.wire.exchange import Steps, run
from poolproof.pool_v2.calls.batch import require_all
from poolproof.pool_v2.calls.io import THREAD, ClientIo
from poolproof.pool_v2.calls.lease import Lease
from poolproof.pool_v2.calls.streaming import Stream
from poolproof.pool_v2.core.behaviour import WorkerBehaviour
from poolproof.pool_v2.core.worker_table import NEVER_NS
from poolproof.pool_v2.running.engine import Engine
from poolproof.pool_v2.running.lifetime import close_in_background
from poolproof.pool_v2.running.runtime import CALL_TIMEOUT_S, CHECKOUT_TIMEOUT_S

WARM_UP_ROUNDS = 2
__all__ = ["CALL_TIMEOUT_S", "CHECKOUT_TIMEOUT_S", "PoolV2"]


class PoolV2(SessionCalls):
    """The refactored pool: each client checks out one worker and does its own I/O, without a central manager.

    `observer` receives every event; `behaviour` adds hooks to a worker's life. Raises ConfigError for invalid options
    and PoolNameConflict if a living pool has the same name. Workers start at once and in parallel, unless `lazy`; the
    constructor does not wait for them. An exception such as KeyboardInterrupt may interrupt a call at any point. A
    signal handler must not call the pool, because the interrupted thread may hold the pool's lock.
    """

    version = "v2"
    capabilities = frozenset(Capability)

    def __init__(
        self,
        config: PoolConfig | None = None,
        *,
        observer: Observer | None = None,
        behaviour: WorkerBehaviour | None = None,
    ) -> None:
        self._config = config or PoolConfig()
        self._engine = Engine(self._config, observer, behaviour)
        self._limit_ns = int(self._engine.limit_s(None) * 1e9)
        self._wait_ns = min(self._limit_ns, int(self._engine.wait_s(None) * 1e9))
        self._finalizer = weakref.finalize(self, close_in_background, self._engine)
        self._finalizer.atexit = False  # when the process exits, the lifeline ends the workers

    @property
    def name(self) -> str:
        """The pool's name, unique among this user's living pools on this machine."""
        return self._engine.process_manager.name

    @property
    def size(self) -> int:
        """The number of workers that the pool has at most, without the overflow: `workers` of its options."""
        return self._engine.coordinator.limits.size

    def execute(
        self,
        command: str,
        args: dict[str, Any] | None = None,
        *,
        session: str | None = None,
        timeout_s: float | None = None,
        checkout_timeout_s: float | None = None,
    ) -> Any:  # noqa: ANN401 - any JSON value
        """Check a worker out, write the request, read the response, check the worker in. Returns `result` verbatim.

        All I/O happens in the calling thread, except that the thread that releases the worker may write the request of
        a call that waits. `timeout_s` (30 by default) bounds the whole call: at the deadline, the worker is killed and
        CallTimeout raised. `checkout_timeout_s` (5 by default) bounds the wait for a worker: afterwards,
        CheckoutTimeout is raised.
        """
        engine = self._engine
        if engine.process_manager.in_child:
            engine.process_manager.require_owner()
        if timeout_s is None and checkout_timeout_s is None:
            now = now_ns()
            deadline, until = now + self._limit_ns, now + self._wait_ns
        else:
            deadline, until = self._times(timeout_s, checkout_timeout_s)
        return run(engine.calls.execute(THREAD, command, args or {}, session, deadline, until))

    @property
    def has_idle(self) -> bool:
        """Whether a call would get a worker now. A look without the lock; False while it is held."""
        return self._engine.coordinator.has_idle and not self._engine.lock.locked()

    def steps(self, io: ClientIo, command: str, args: dict[str, Any]) -> Steps[Any]:
        """Return the waits of `execute` without limits of time, for an `io` that does not just block."""
        return self._engine.calls.execute(io, command, args, None, NEVER_NS, NEVER_NS)

    def execute_many(
        self,
        command: str,
        items: Iterable[dict[str, Any]],
        *,
        session: str | None = None,
        return_errors: bool = False,
        timeout_s: float | None = None,
        checkout_timeout_s: float | None = None,
    ) -> list[Any]:
        """Execute `command` once per item on one worker, with pipelined requests. Returns the results in order.

        `timeout_s` bounds the whole batch. All items are tried; then the first error is raised, with the item's number.
        With `return_errors`, each error takes the place of its item's result instead. If the worker ends, the
        unanswered items get an error that says whether they were sent. Raises InvalidRequest before anything is sent.
        """
        engine = self._engine
        engine.process_manager.require_owner()
        deadline, until = self._times(timeout_s, checkout_timeout_s)
        found = run(engine.batch.run(THREAD, command, list(items), session, deadline, until))
        return found if return_errors else require_all(found)

    def execute_stream(
        self,
        command: str,
        args: dict[str, Any] | None = None,
        *,
        session: str | None = None,
        timeout_s: float | None = None,
        checkout_timeout_s: float | None = None,
    ) -> Stream:
        """`execute` for a response in parts: returns an iterator that yields each part as soon as the worker sends it.

        `timeout_s` bounds the whole stream. To leave the stream early, use `close` or a `with` block; that ends the
        worker.
        """
        engine = self._engine
        engine.process_manager.require_owner()
        deadline, until = self._times(timeout_s, checkout_timeout_s)
        return Stream.begin(engine.streaming, command, args or {}, session, deadline, until)

    def _times(self, timeout_s: float | None, checkout_timeout_s: float | None) -> tuple[int, int]:
        # Returns the call deadline and the checkout deadline, in nanoseconds.
        now = now_ns()
        limit_ns = int(self._engine.limit_s(timeout_s) * 1e9)
        wait_ns = int(self._engine.wait_s(checkout_timeout_s) * 1e9)
        return now + limit_ns, now + min(limit_ns, wait_ns)

    def checkout(
        self,
        command: Any = None,  # noqa: ANN401 - for the hooks
        *,
        timeout_s: float | None = None,
        checkout_timeout_s: float | None = None,
    ) -> Lease:
        """Lease a worker for a `with` block: `with pool.checkout() as worker: worker.execute(...)`.

        `command` is passed to the behaviour's hooks. `timeout_s` bounds the whole lease: at the deadline, the worker is
        ended; None sets no limit. `checkout_timeout_s` (5 by default) bounds the wait: afterwards, CheckoutTimeout is
        raised.
        """
        engine = self._engine
        engine.process_manager.require_owner()
        deadline = NEVER_NS if timeout_s is None else deadline_ns(engine.limit_s(timeout_s))
        until = deadline_ns(engine.wait_s(checkout_timeout_s))
        return run(engine.leases.open(THREAD, None, command, None, deadline, min(deadline, until)))

    def broadcast(self, message: Any) -> int:  # noqa: ANN401 - the application's own
        """Pass `message` to the hook `message` of every idle worker. Returns the number of these workers."""
        self._engine.process_manager.require_owner()
        return self._engine.housekeeper.broadcast(message)

    def end_session(self, session_id: str) -> bool:
        """Forget the session and its state. Returns False if the session did not exist."""
        self._engine.process_manager.require_owner()
        return run(self._engine.calls.end_session(THREAD, session_id))

    def sessions(self) -> tuple[SessionStatus, ...]:
        """Return the sessions that have not ended."""
        self._engine.process_manager.require_owner()
        return self._engine.sessions.table()

    @property
    def takes_buffers(self) -> bool:
        """Whether arguments may have bytes. Workers of another command say so when the first of them has started."""
        return self._engine.process_manager.abilities.takes_buffers

    def status(self) -> PoolStatus:
        """Return a consistent snapshot of the pool. Never waits for I/O."""
        self._engine.process_manager.require_owner()
        return self._engine.status()

    def health_check(self) -> Health:
        """Return whether the pool can serve at its full size now. Never waits for I/O."""
        status = self.status()
        live = sum(worker.state in ("idle", "leased") for worker in status.workers)
        target = min(self._engine.coordinator.floor, status.target)
        reasons = []
        if status.state != "open":
            reasons.append(f"the pool is {status.state}")
        elif live < target:
            reasons.append(f"{live} of {target} workers are ready")
        circuit = self._engine.coordinator.circuit
        if circuit.tripped or (live < target and circuit.failures):
            reasons.append(f"workers fail to start; the last error: {circuit.last_error}")
        return Health(healthy=not reasons, live=live, target=status.target, reasons=tuple(reasons))

    def warm_up(self, n: int | None = None) -> int:
        """Start workers in parallel until `n` are ready (default: the pool's size). Returns how many are ready.

        Raises CircuitOpen or StartFailed if workers do not start, and PoolClosed if the pool is closed first.
        """
        self._engine.process_manager.require_owner()
        wanted = min(self.size if n is None else n, self.size)
        ready = self._engine.warm_up(wanted, deadline_ns(self._config.start_timeout_s * WARM_UP_ROUNDS))
        return self.require_ready(ready, wanted)

    def require_ready(self, ready: int, wanted: int) -> int:
        """Return `ready` if it is at least `wanted`. Otherwise raises CircuitOpen or StartFailed with the reason."""
        wanted = min(wanted, self.size)  # the pool may have been resized meanwhile
        circuit = self._engine.coordinator.circuit
        if ready < wanted and circuit.refuses(now_ns()):
            raise CircuitOpen(
                f"pool {self.name!r}: too many workers failed to start; the last error: {circuit.last_error}"
            )
        if ready < wanted:
            raise StartFailed(f"pool {self.name!r}: {ready} of {wanted} workers are ready; {circuit.last_error}")
        return ready

    def resize(self, n: int) -> None:
        """Change the pool's size to `n` workers, 1 to 1024. Returns at once; `warm_up` waits for the new workers.

        More workers start as at the beginning: now, or with `lazy` or `min_workers` when calls need them. Fewer: idle
        workers exit now, leased workers after their lease, so no call is interrupted. `overflow` and `min_workers` stay
        as they are; a `min_workers` above `n` counts as `n`. Raises ConfigError, and PoolClosed after `drain` or
        `close`.
        """
        self._engine.process_manager.require_owner()
        self._engine.resize(n)

    def drain(self, timeout_s: float | None = None) -> bool:
        """Accept no more calls, let all calls and leases that have begun end, waiting calls too, then close the pool.

        New calls get PoolClosed. After `timeout_s` seconds (None: no limit) the pool is closed anyway, and the calls
        that have not ended get PoolClosed. Returns whether all have ended. May be called from several threads.
        """
        self._engine.process_manager.require_owner()
        return self._engine.drain(timeout_s)

    def close(self, grace_s: float | None = None) -> None:
        """Close the pool: waiting calls get PoolClosed at once, leased workers get `grace_s` seconds. Idempotent."""
        self._engine.process_manager.require_owner()
        self._engine.close(self._config.close_grace_s if grace_s is None else grace_s)

    def end_workers(self, signum: signal.Signals) -> None:
        """Accept no more calls, retire idle workers, and send `signum` to each leased worker. Does not wait.

        Waiting calls get PoolClosed, and so do the calls whose workers the signal ends. `close` does the rest.
        """
        self._engine.process_manager.require_owner()
        self._engine.end_workers(signum)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._engine.process_manager.in_child:  # a forked child that leaves the block has nothing to close
            self.close()

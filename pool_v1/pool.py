"""PoolV1: the common pool interface, where every method is a message to the one manager.

Independent of workers. A caller's timeout ends only the caller's own wait; the manager continues.
"""

from __future__ import annotations

import itertools
import threading
import weakref
from collections import Counter
from types import TracebackType
from typing import Any, Self

from poolproof.bridge import (
    CallTimeout,
    Capability,
    CheckoutTimeout,
    EventKind,
    Health,
    InvalidRequest,
    Observer,
    PoolClosed,
    PoolConfig,
    PoolError,
    PoolStatus,
    Sent,
    SessionStatus,
    Statistics,
)
from poolproof.bridge.clock import deadline_ns, now_ns, remaining_s
from poolproof.bridge.config import duration
from poolproof.bridge.events import CORRELATION
from poolproof.bridge.session_calls import SessionCalls
from poolproof.bridge.wire.messages import encode_request, session_args
from poolproof.pool_v1.mailbox import Message
from poolproof.pool_v1.manager import Manager, stop_in_background

CALL_TIMEOUT_S = 5.0
"""The legacy default in seconds; it is shorter than the manager's own timeout for a worker."""
UNSUPPORTED = (
    "zygote",
    "preload",
    "overflow",
    "max_queue",
    "min_workers",
    "idle_timeout_s",
    "max_requests",
    "max_age_s",
    "max_memory_bytes",
    "ping_interval_s",
    "ping_timeout_s",
    "max_idle_pings",
    "idle_order",
    "placement",
    "session_affinity",
    "session_ttl_s",
    "snapshot_commands",
    "start_failures_to_open",
    "circuit_reset_s",
    "session_log_bytes",
    "term_grace_s",
)


class PoolV1(SessionCalls):
    """The legacy pool. Serial by design: one manager thread does all the I/O.

    `observer` receives every event. Raises ConfigError for an option that needs a concurrent pool, and PoolNameConflict
    if a living pool has the same name. `lazy` always applies: a worker starts with the first call.
    """

    version = "v1"
    capabilities = frozenset(
        {Capability.SESSIONS, Capability.KILL, Capability.EVENTS, Capability.WARM_UP, Capability.REQUEST_IDS}
    )

    def __init__(self, config: PoolConfig | None = None, *, observer: Observer | None = None) -> None:
        self._config = config or PoolConfig()
        self._config.require_defaults(UNSUPPORTED, pool="v1")
        self._manager = Manager(self._config, observer)
        self._calls = itertools.count(1)
        self._lock = threading.Lock()
        self._arrivals = threading.RLock()
        self._submitted = 0
        self._outcomes: Counter[str] = Counter()
        self._finalizer = weakref.finalize(self, stop_in_background, self._manager)
        self._finalizer.atexit = False  # when the process exits, the lifeline ends the workers

    @property
    def name(self) -> str:
        """The pool's name, unique among this user's living pools on this machine."""
        return self._manager.process_manager.name

    def execute(
        self,
        command: str,
        args: dict[str, Any] | None = None,
        *,
        session: str | None = None,
        timeout_s: float | None = None,
        checkout_timeout_s: float | None = None,
    ) -> Any:  # noqa: ANN401 - any JSON value
        """Post the call to the manager and wait for its reply at most `timeout_s` seconds (5 by default).

        Raises CheckoutTimeout if the manager has not begun the call by then, or by `checkout_timeout_s`. Raises
        CallTimeout if it has begun: then the manager continues, and the response is dropped.
        """
        self._manager.process_manager.require_owner()
        entered_ns = now_ns()
        call = next(self._calls)
        limit_s = duration("timeout_s", timeout_s, self._config.call_timeout_s, CALL_TIMEOUT_S)
        patience_s = duration("checkout_timeout_s", checkout_timeout_s, self._config.checkout_timeout_s, limit_s)
        call_deadline = deadline_ns(limit_s, start_ns=entered_ns)
        start_deadline = min(call_deadline, deadline_ns(patience_s, start_ns=entered_ns))
        with self._lock:
            self._submitted += 1
        outcome = "Cancelled"
        try:
            message = self._post(call, command, args or {}, session)
            try:
                result = self._await(message, command, start_deadline, call_deadline)
            except BaseException:
                self._manager.mailbox.withdraw(message)
                raise
            outcome = "result"
            return result
        except PoolError as error:
            outcome = type(error).__name__
            raise
        finally:
            with self._lock:
                self._outcomes[outcome] += 1
            self._manager.emit(EventKind.DONE, call=call, detail=outcome)

    def _await(self, message: Message, command: str, start_deadline: int, call_deadline: int) -> Any:  # noqa: ANN401
        if not message.wait(remaining_s(start_deadline)) and self._manager.mailbox.withdraw(message):
            raise CheckoutTimeout(
                f"{command!r}: the manager of pool {self.name!r} was busy until the deadline{self._failing_starts()}"
            )
        if not message.wait(remaining_s(call_deadline)):
            raise CallTimeout(
                f"{command!r}: no answer by the deadline; the manager of pool {self.name!r} works on"
                f"{self._failing_starts()}",
                sent=Sent.MAYBE,
            )
        return message.result()

    def _failing_starts(self) -> str:
        why = self._manager.start_failure
        return f"; workers fail to start; the last error: {why}" if why else ""

    def _post(self, call: int, command: str, args: dict[str, Any], session: str | None) -> Message:
        # ENQUEUE events come in the order of the queue; an observer may call the pool meanwhile.
        manager = self._manager
        try:
            args = args if session is None else session_args(args, session)
            frame = encode_request(
                call,
                command,
                args,
                limit_bytes=self._config.max_frame_bytes,
                takes_buffers=manager.process_manager.abilities.takes_buffers,
            )
        except InvalidRequest:
            manager.emit(EventKind.ENQUEUE, call=call, correlation=CORRELATION.get())
            raise
        with self._arrivals:
            manager.emit(EventKind.ENQUEUE, call=call, correlation=CORRELATION.get())
            return manager.ask(lambda: manager.call(call, frame, session))

    def end_session(self, session_id: str) -> bool:
        """Forget the session and its state. Returns False if the session did not exist."""
        known = any(status.session_id == session_id for status in self.sessions())
        if known:
            try:
                self.execute("cleanup_session", session=session_id)
            except PoolError:
                pass  # a worker without that command keeps its state
            self._ask(lambda manager: manager.forget_session(session_id))
        return known

    def sessions(self) -> tuple[SessionStatus, ...]:
        """Return the sessions. Waits for the manager's current I/O."""
        found: tuple[SessionStatus, ...] = self._ask(Manager.session_statuses)
        return found

    def status(self) -> PoolStatus:
        """Return a snapshot. Waits for the manager's current I/O; raises CallTimeout if that takes too long."""
        closed = self._manager.mailbox.closed
        workers = () if closed else self._ask(Manager.worker_statuses)
        sessions = 0 if closed else len(self.sessions())
        with self._lock:
            done = sum(self._outcomes.values())
            statistics = Statistics(
                submitted=self._submitted, in_flight=self._submitted - done, outcomes=dict(self._outcomes)
            )
        return PoolStatus(
            name=self.name,
            version=self.version,
            state="closed" if closed else "open",
            target=self._config.workers,
            workers=workers,
            waiting=len(self._manager.mailbox),
            sessions=sessions,
            statistics=statistics,
        )

    def health_check(self) -> Health:
        """Return whether the manager replies, and at least one worker lives and none is dead.

        Waits for the manager's current I/O.
        """
        try:
            live, reasons = self._ask(Manager.vitals)
        except (PoolClosed, CallTimeout) as error:
            reasons, live = [str(error)], 0
        return Health(healthy=not reasons, live=live, target=self._config.workers, reasons=tuple(reasons))

    def warm_up(self, n: int | None = None) -> int:
        """Start workers one after another until there are `n` (default: the pool's size). Raises StartFailed."""
        wanted = min(self._config.workers if n is None else n, self._config.workers)
        limit_s = self._config.start_timeout_s * wanted + CALL_TIMEOUT_S
        ready: int = self._ask(lambda manager: manager.warm_up(wanted), limit_s=limit_s)
        return ready

    def _ask(self, work: Any, *, limit_s: float | None = None) -> Any:  # noqa: ANN401 - a Manager method and its value
        limit_s = duration("limit_s", limit_s, self._config.call_timeout_s, CALL_TIMEOUT_S)
        manager = self._manager
        message = manager.ask(lambda: work(manager))
        if not message.wait(limit_s):
            manager.mailbox.withdraw(message)
            raise CallTimeout(f"the manager of pool {self.name!r} was busy for {limit_s} s")
        return message.result()

    def close(self, grace_s: float | None = None) -> None:
        """Close the pool: waiting calls get PoolClosed at once, the running call gets `grace_s` seconds. Idempotent."""
        self._manager.process_manager.require_owner()
        self._manager.stop(self._config.close_grace_s if grace_s is None else grace_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._manager.process_manager.in_child:  # a forked child that leaves the block has nothing to close
            self.close()

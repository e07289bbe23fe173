"""A Pool over a peer's engine, which adds the timeouts, errors and counts of the Pool interface.

The class knows no peer by name, and does not hide what a peer lacks: scenarios show that. Calls in a session are
refused, because a session needs a worker of its own, which no peer guarantees.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, InvalidStateError, wait
from types import TracebackType
from typing import Any, Self

import msgspec

from poolproof.bridge import (
    CallTimeout,
    Capability,
    CheckoutTimeout,
    CommandError,
    Health,
    InvalidRequest,
    PoolClosed,
    PoolConfig,
    PoolStatus,
    Sent,
    SessionStatus,
    StartFailed,
    Statistics,
    WorkerCrashed,
)
from poolproof.bridge.session_calls import SessionCalls
from poolproof.bridge.wire.framing import HEADER_BYTES
from poolproof.bridge.wire.messages import decode_response, encode_request
from poolproof.harness.subjects.peers import service
from poolproof.harness.subjects.peers.engine import Engine

WARM_PAUSE_S = 0.02


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """A factory of pools for `--pool`. `prepare` starts what the peer keeps until the process ends."""

    name: str
    summary: str
    open: Callable[[PoolConfig], Engine]
    prepare: Callable[[], None]
    capabilities: frozenset[Capability] = frozenset({Capability.WARM_UP})
    commands: frozenset[str] = service.KNOWN
    call_timeout_s: float = 30.0
    checkout_timeout_s: float = 30.0

    def __call__(self, config: PoolConfig) -> PeerPool:
        """Make a pool. The pool reports no events, because a peer does not show which worker gets a call."""
        return PeerPool(self, config, self.open(config))


class PeerPool(SessionCalls):
    """One pool of a peer. Thread-safe if the peer is."""

    def __init__(self, peer: Peer, config: PoolConfig, engine: Engine) -> None:
        self._peer = peer
        self._config = config
        self._engine = engine
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._submitted = 0
        self._outcomes: Counter[str] = Counter()
        self._running: set[Future[Any]] = set()  # with abandoned calls: a worker is still busy with them
        self._closed = False
        self._gone = threading.Event()
        self.version = peer.name
        self.capabilities: frozenset[Capability] = peer.capabilities

    @property
    def name(self) -> str:
        """The pool's name."""
        return self._config.name or self._peer.name

    def execute(
        self,
        command: str,
        args: dict[str, Any] | None = None,
        *,
        session: str | None = None,
        timeout_s: float | None = None,
        checkout_timeout_s: float | None = None,
    ) -> Any:  # noqa: ANN401
        """Run one command on a worker. Raises PoolError."""
        with self._lock:
            self._submitted += 1
        outcome = "result"
        try:
            return self._execute(command, args or {}, session, timeout_s, checkout_timeout_s)
        except BaseException as error:
            outcome = type(error).__name__
            raise
        finally:
            with self._lock:
                self._outcomes[outcome] += 1

    def _execute(
        self,
        command: str,
        args: dict[str, Any],
        session: str | None,
        timeout_s: float | None,
        checkout_timeout_s: float | None,
    ) -> Any:  # noqa: ANN401
        began_s = time.monotonic()
        if session is not None and Capability.SESSIONS not in self.capabilities:
            raise InvalidRequest(f"{self._peer.name} keeps no sessions, so {session!r} cannot be served")
        call_s = _first(timeout_s, self._config.call_timeout_s, self._peer.call_timeout_s)
        checkout_s = _first(checkout_timeout_s, self._config.checkout_timeout_s, self._peer.checkout_timeout_s)
        future = self._submit(*self._request(command, args, session, call_s))
        return self._answer(self._wait(future, command, call_s, checkout_s, began_s))

    def _request(
        self, command: str, args: dict[str, Any], session: str | None, call_s: float
    ) -> tuple[Callable[[Any], Any], object]:
        # The function for the worker to run, and its argument.
        frame = encode_request(next(self._numbers), command, args, limit_bytes=self._config.max_frame_bytes)
        return service.serve, bytes(frame[HEADER_BYTES:])

    def _answer(self, value: Any) -> Any:  # noqa: ANN401
        # The result of the call, from what the function has returned.
        response = decode_response(value)
        if not response.success:
            raise CommandError(str(response.error))
        return response.result

    def _submit(self, function: Callable[[Any], Any], argument: object) -> Future[Any]:
        with self._lock:
            if self._closed:
                raise PoolClosed(f"pool {self.name!r} is closed")
            future = self._submitted_now(function, argument)
            self._running.add(future)
        future.add_done_callback(self._running.discard)
        return future

    def _submitted_now(self, function: Callable[[Any], Any], argument: object) -> Future[Any]:
        try:
            return _settled_once(self._engine.submit(function, argument))
        except self._engine.crashes as error:
            raise WorkerCrashed(f"{self._peer.name} accepts no more calls: {error}") from error
        except self._engine.refusals as error:
            raise PoolClosed(f"pool {self.name!r} is closed: {error}") from error

    def _wait(self, future: Future[Any], command: str, call_s: float, checkout_s: float, began_s: float) -> Any:  # noqa: ANN401
        try:
            impatient = checkout_s < call_s and not _done(future, checkout_s)
            if impatient and not future.running() and future.cancel():
                raise CheckoutTimeout(f"no worker was free for {command!r} in {checkout_s:g} s", sent=self._unsent)
            left_s = max(0.0, began_s + call_s - time.monotonic())
            if not _done(future, left_s):
                waited = not future.running()
                cancelled = (waited or self._engine.cancels_running) and future.cancel()
                if waited and cancelled:
                    raise CheckoutTimeout(f"no worker was free for {command!r} in {call_s:g} s", sent=self._unsent)
                raise CallTimeout(f"{command!r} had no answer in {call_s:g} s", sent=Sent.MAYBE)
            return future.result()
        except self._engine.crashes as error:
            if self._closed:
                raise PoolClosed(f"pool {self.name!r} was closed during {command!r}", sent=Sent.MAYBE) from error
            sent = Sent.YES if self._engine.crash_is_own else Sent.MAYBE
            raise WorkerCrashed(f"a worker died during {command!r}: {error}", sent=sent) from error
        except CancelledError as error:
            raise PoolClosed(f"pool {self.name!r} was closed before {command!r}", sent=self._unsent) from error

    @property
    def _unsent(self) -> Sent:
        # If a cancellation ends the worker too, the call may have begun at that moment.
        return Sent.MAYBE if self._engine.cancels_running else Sent.NO

    def end_session(self, session_id: str) -> bool:
        """Return False: there are no sessions."""
        return False

    def sessions(self) -> tuple[SessionStatus, ...]:
        """Return an empty tuple: there are no sessions."""
        return ()

    def status(self) -> PoolStatus:
        """Return what the adapter has counted. It lists no workers, since a peer does not report them."""
        with self._lock:
            done = dict(self._outcomes)
            statistics = Statistics(
                submitted=self._submitted, in_flight=self._submitted - sum(done.values()), outcomes=done
            )
            state = "closed" if self._gone.is_set() else "closing" if self._closed else "open"
            waiting = sum(not future.running() for future in self._running.copy())
        return PoolStatus(
            name=self.name,
            version=self.version,
            state=state,
            target=self._config.workers,
            workers=(),
            waiting=waiting,
            sessions=0,
            statistics=statistics,
        )

    def health_check(self) -> Health:
        """Return whether the pool is open; a peer does not report how many workers are alive."""
        reasons = ("the pool is closed",) if self._closed else ()
        return Health(healthy=not self._closed, live=0, target=self._config.workers, reasons=reasons)

    def warm_up(self, n: int | None = None) -> int:
        """Run calls until `n` processes have answered, for at most `n` times start_timeout_s. Raises StartFailed."""
        wanted = self._config.workers if n is None else n
        deadline_s = time.monotonic() + self._config.start_timeout_s * max(1, wanted)
        seen: set[int] = set()
        if self._closed:
            raise PoolClosed(f"pool {self.name!r} is closed")
        while len(seen) < wanted:
            try:
                futures = [self._engine.submit(service.who, WARM_PAUSE_S) for _ in range(wanted)]
                seen |= {future.result(max(0.0, deadline_s - time.monotonic())) for future in futures}
            except TimeoutError as error:
                raise StartFailed(f"{len(seen)} of {wanted} workers have answered in time") from error
            except self._engine.crashes as error:
                raise StartFailed(f"a worker died at its start: {error}") from error
        return len(seen)

    def close(self, grace_s: float | None = None) -> None:
        """Cancel queued calls, wait `grace_s` seconds for running calls, then end all workers. Idempotent."""
        with self._lock:
            first, self._closed = not self._closed, True
            running = self._running.copy()
        if not first:
            self._gone.wait()
            return
        try:
            for future in running:
                if not future.running():
                    future.cancel()
            running = {future for future in running if not future.cancelled()}  # `wait` may never be notified of these
            _, busy = wait(running, timeout=self._config.close_grace_s if grace_s is None else grace_s)
            self._engine.end(busy=bool(busy))
            for future in busy:  # without this, a peer that drops its calls would leave the callers waiting
                future.set_exception(CancelledError())
        finally:
            self._gone.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _done(future: Future[Any], timeout_s: float) -> bool:
    # Like `wait`, which sees a cancellation only after the executor has seen it; a dead executor never does.
    try:
        future.exception(timeout_s)
    except TimeoutError:
        return False
    except CancelledError:
        pass
    return True


def _settled_once(future: Future[Any]) -> Future[Any]:
    """Return the future, changed so that only the first outcome settles it and later outcomes are ignored.

    A peer may set the outcome of a future that was cancelled or abandoned here: the executor of Python 3.11 when a
    worker dies, loky 3.7 when it is closed by force. InvalidStateError would then end the peer's manager thread, and
    the calls behind the cancelled one would never be answered.
    """
    future.set_result = _unless_settled(future.set_result)  # type: ignore[assignment, method-assign]
    future.set_exception = _unless_settled(future.set_exception)  # type: ignore[assignment, method-assign]
    return future


def _unless_settled(tell: Callable[[Any], None]) -> Callable[[Any], None]:
    def told(outcome: object) -> None:
        with contextlib.suppress(InvalidStateError):
            tell(outcome)

    return told


def _first(*values: float | None) -> float:
    return next(value for value in values if value is not None)

"""A Pool over a user's own engine: it adds the timeouts, errors and counts of the Pool interface to the calls."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from typing import Any

import msgspec

from poolproof.bridge import (
    CallTimeout,
    Capability,
    CommandError,
    PoolClosed,
    PoolConfig,
    PoolError,
    Sent,
    StartFailed,
    WorkerCrashed,
)
from poolproof.bridge.worker.journal import JOURNAL_VARIABLE
from poolproof.harness.model.evidence import Evidence
from poolproof.harness.model.op import NONCE
from poolproof.harness.subjects.own import work
from poolproof.harness.subjects.own.engine import CRASHES, OwnCall, OwnEngine
from poolproof.harness.subjects.own.processes import descendants
from poolproof.harness.subjects.peers.pool import WARM_PAUSE_S, Peer, PeerPool

STATISTICS_ARE_OURS = frozenset({Evidence.STATISTICS})
"""The evidence that such a pool cannot show: this adapter counts the calls itself, so its counts prove nothing."""


class OwnPools(msgspec.Struct, frozen=True, kw_only=True):
    """A factory of pools for `--pool`, with the capabilities of the pools and the evidence that they cannot show.

    `commands` are empty: the pools run the user's own calls, not the catalogue's.
    """

    summary: str
    open: Callable[[PoolConfig], OwnEngine]
    capabilities: frozenset[Capability] = frozenset()
    cannot_show: frozenset[Evidence] = STATISTICS_ARE_OURS | {Evidence.JOURNALS}
    learns: bool = True
    commands: frozenset[str] = frozenset()
    call_timeout_s: float = 60.0
    checkout_timeout_s: float = 60.0
    name: str = "own"

    def __call__(self, config: PoolConfig) -> OwnPool:
        """Make a pool. The pool reports no events, because an engine does not show which worker gets a call."""
        before = descendants()
        peer = Peer(
            name=self.name,
            summary=self.summary,
            open=self.open,
            prepare=lambda: None,
            capabilities=self.capabilities,
            call_timeout_s=self.call_timeout_s,
            checkout_timeout_s=self.checkout_timeout_s,
        )
        return OwnPool(peer, config, self.open(config), before)


class OwnPool(PeerPool):
    """One pool that the user has made. Thread-safe if the user's pool is."""

    def __init__(self, peer: Peer, config: PoolConfig, engine: OwnEngine, before: frozenset[int]) -> None:
        super().__init__(peer, config, engine)
        self._own = engine
        self._journals = config.env.get(JOURNAL_VARIABLE)
        self.before = before

    def restart(self) -> str:
        """Restart the workers, or kill one, as the user's `restart` says; return what was done. Raises
        ProcessLookupError.
        """
        return self._own.restart()

    def warm_up(self, n: int | None = None) -> int:
        """Let each of `n` workers wait a moment, so that all are started; return how many have answered.

        Raises StartFailed if that takes longer than start_timeout_s for each of them.
        """
        wanted = self._config.workers if n is None else n
        deadline_s = time.monotonic() + self._config.start_timeout_s * max(1, wanted)
        try:
            futures = [self._engine.submit(work.pause, WARM_PAUSE_S) for _ in range(wanted)]
            return len({future.result(max(0.0, deadline_s - time.monotonic())) for future in futures})
        except TimeoutError as error:
            raise StartFailed(f"{wanted} workers have not all answered in time") from error
        except self._engine.crashes as error:
            raise StartFailed(f"a worker died at its start: {error}") from error

    def close(self, grace_s: float | None = None) -> None:
        """Close the pool, and the journals that its threads keep in this process."""
        super().close(grace_s)
        if self._journals:
            work.forget(self._journals)

    def _submit(self, function: Callable[[Any], Any], argument: object) -> Future[Any]:
        # Not under the lock: an engine may make the whole call here. Until it has, `close` waits for the placeholder.
        placeholder: Future[Any] = Future()
        placeholder.set_running_or_notify_cancel()
        with self._lock:
            if self._closed:
                raise PoolClosed(f"pool {self.name!r} is closed")
            self._running.add(placeholder)
        try:
            future = self._submitted_now(function, argument)
            with self._lock:
                self._running.add(future)
        finally:
            self._running.discard(placeholder)
            with contextlib.suppress(InvalidStateError):  # `close` has given it up
                placeholder.set_result(None)
        future.add_done_callback(self._running.discard)
        return future

    def _request(
        self, command: str, args: dict[str, Any], session: str | None, call_s: float
    ) -> tuple[Callable[[Any], Any], object]:
        call = OwnCall(command=command, args=args, session=session, timeout_s=call_s, nonce=NONCE.get())
        return work.carry_out, call

    def _answer(self, value: Any) -> Any:  # noqa: ANN401
        if isinstance(value, work.Outcome):
            if value.error is not None:
                raise CommandError(value.error)
            return value.value
        return value

    def _wait(self, future: Future[Any], command: str, call_s: float, checkout_s: float, began_s: float) -> Any:  # noqa: ANN401
        try:
            return super()._wait(future, command, call_s, checkout_s, began_s)
        except PoolError:
            raise
        except TimeoutError as error:
            raise CallTimeout(f"{command!r} had no answer: {error}", sent=Sent.MAYBE) from error
        except CRASHES as error:
            told = f"{type(error).__name__}: {error}"
            raise WorkerCrashed(f"a worker died during {command!r}: {told}", sent=Sent.MAYBE) from error
        except Exception as error:
            raise CommandError(f"{type(error).__name__}: {error}") from error

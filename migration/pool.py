"""The two pools of a migration behind the common pool interface, with a position that can be changed.

Reads the active step to choose the pool. In v1 mode, the only overhead of a call is that it is counted.
"""

from __future__ import annotations

import itertools
import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self

import msgspec

from poolproof.bridge import Capability, ConfigError, Health, Pool, PoolClosed, PoolError, PoolStatus, SessionStatus
from poolproof.bridge.session_calls import SessionCalls
from poolproof.harness.model.intended import Comparing
from poolproof.migration.accounts import IN_FLIGHT, MOST_UNCOUNTED, Accounts
from poolproof.migration.control import Control, Moved, Step
from poolproof.migration.faces.batches import run_batch
from poolproof.migration.faces.leases import MigratingLease, MigratingStream, open_lease, require
from poolproof.migration.followers.membership import Membership
from poolproof.migration.limits.guardrails import Figures
from poolproof.migration.plan import Plan, Position, Side
from poolproof.migration.shadowing.metrics import GuardrailMetrics, Served
from poolproof.migration.shadowing.shadow import Shadow, ShadowFigures
from poolproof.migration.traffic import REFUSALS, Traffic
from poolproof.migration.watch import Watch

NOT_OFFERED = frozenset({Capability.EVENTS})
CLOSE_EXTRA_S = 30.0
logger = logging.getLogger("poolproof.migration")
_forked = False


def _note_fork() -> None:
    global _forked
    _forked = True


os.register_at_fork(after_in_child=_note_fork)


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a migration in this process. `last_breach`, `trouble` and `paused` are sentences, or empty.

    `served` counts what was served since the position was taken. `state_file` is empty if the migration is private.
    `flag` is the flag that sets the position, with its provider; empty if none does.
    """

    position: str
    windows: Figures
    shadow: ShadowFigures
    sessions: dict[str, int]
    last_breach: str
    trouble: str
    paused: str
    served: Served
    state_file: str
    flag: str


class MigratingPool(SessionCalls):
    """v1 and v2 as one pool. Takes ownership of both: `close` closes both pools.

    `comparing` has the hooks for shadow mode. `on_change` is called for every change of position, in the thread that
    makes the change. Raises ConfigError for an invalid plan, StateError if the state file cannot be written.
    """

    version = "migrating"

    def __init__(
        self,
        v1: Pool,
        v2: Pool,
        plan: Plan | None = None,
        *,
        comparing: Comparing | None = None,
        on_change: Callable[[Moved], None] | None = None,
    ) -> None:
        if v1 is v2:
            raise ConfigError("v1 and v2 must be two different pools")
        self._plan = plan or Plan()
        self._pid = os.getpid()
        self.capabilities = (frozenset(v1.capabilities) & frozenset(v2.capabilities)) - NOT_OFFERED
        self._numbers = itertools.count(1)
        self._accounts = Accounts()
        self._calls = self._accounts.calls
        self._metrics = GuardrailMetrics(self._plan.guardrails)
        self._ends = self._metrics.ends
        self._control = Control(self._plan, self._metrics, on_change)
        self._shadow = Shadow(v2, self._plan, comparing or Comparing(), self._metrics)
        self._v1 = v1
        pools = {Side.V1: v1, Side.V2: v2}
        self._traffic = Traffic(pools, self._plan, self._control, self._shadow, self._metrics)
        self._membership = Membership(v1.name, self._control, self._metrics, self._traffic.ledger)
        self._watch = Watch(self._membership, self._metrics.urgent, self._plan.poll_s)
        self._closing = threading.Lock()
        self._closed = False
        weakref.finalize(self, self._shadow.stop).atexit = False
        weakref.finalize(self, self._membership.close)

    @property
    def name(self) -> str:
        """The name of v1, because this pool replaces v1."""
        return self._v1.name

    # Calls.

    def execute(
        self,
        command: str,
        args: dict[str, Any] | None = None,
        *,
        session: str | None = None,
        timeout_s: float | None = None,
        checkout_timeout_s: float | None = None,
    ) -> Any:  # noqa: ANN401 - any JSON value
        """Run one command on the pool that serves it. Timeouts and errors are that pool's; also raises SessionLost."""
        if _forked:
            self._require_owner()
        number = next(self._numbers)
        calls = self._calls
        calls[number] = IN_FLIGHT
        outcome = "Cancelled"
        plain: Step | None = None
        try:
            if session is not None:
                value = self._traffic.run_in_session(session, command, args, timeout_s, checkout_timeout_s)
            elif (step := self._control.step).plain:
                plain = step
                value = self._v1.execute(command, args, timeout_s=timeout_s, checkout_timeout_s=checkout_timeout_s)
            else:
                value = self._traffic.run(command, args, timeout_s, checkout_timeout_s)
            outcome = "result"
            return value
        except PoolError as error:
            outcome = type(error).__name__
            raise
        finally:
            calls[number] = outcome
            if plain is not None:
                self._ends.append(plain.good if outcome == "result" else (plain.epoch, Side.V1, outcome))
            if len(calls) > MOST_UNCOUNTED:
                self._accounts.sum_up()
                self._metrics.sum_up()

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
        """Run `command` once for each item, all on the pool that serves the batch. Returns the results in order.

        A pool without `execute_many`, and the calls of a session, run one after another. `timeout_s` bounds the whole
        batch, the errors are those of PoolV2.execute_many.
        """
        self._require_owner()
        limits = {"timeout_s": timeout_s, "checkout_timeout_s": checkout_timeout_s}
        return run_batch(
            self._traffic.pools, self._traffic.turns, self.execute, command, list(items), session, return_errors, limits
        )

    def execute_stream(
        self,
        command: str,
        args: dict[str, Any] | None = None,
        *,
        session: str | None = None,
        timeout_s: float | None = None,
        checkout_timeout_s: float | None = None,
    ) -> MigratingStream:
        """`execute` for a response in parts, which both pools must offer.

        Raises ConfigError in a session: what a stream has changed when it is left early is not known, so the session
        could not be handed over.
        """
        self._require_owner()
        if session is not None:
            raise ConfigError(f"session {session!r}: a migration has no streams in sessions")
        turn = self._traffic.turns.take(command)
        try:
            call = require(self._traffic.pools[turn.side], turn.side, "execute_stream")
        except ConfigError:
            turn.drop()
            raise
        try:
            stream = call(command, args, timeout_s=timeout_s, checkout_timeout_s=checkout_timeout_s)
        except BaseException as error:
            turn.end(type(error).__name__ if isinstance(error, Exception) else "Cancelled")
            raise
        return MigratingStream(stream, turn)

    def checkout(
        self,
        command: Any = None,  # noqa: ANN401 - for the hooks
        *,
        timeout_s: float | None = None,
        checkout_timeout_s: float | None = None,
    ) -> MigratingLease:
        """Lease a worker for a `with` block, which both pools must offer. The lease stays on its pool to its end."""
        self._require_owner()
        limits = {"timeout_s": timeout_s, "checkout_timeout_s": checkout_timeout_s}
        refusals = REFUSALS if self._plan.fall_back else ()
        return open_lease(self._traffic.pools, self._traffic.turns, refusals, command, limits)

    def end_session(self, session_id: str) -> bool:
        """Forget the session and its state. Returns False if the session did not exist."""
        self._require_owner()
        return self._traffic.end_session(session_id)

    def sessions(self) -> tuple[SessionStatus, ...]:
        """Return the sessions of both pools that have not ended. `worker_id` is None: both pools may use an id."""
        self._require_owner()
        return self._traffic.ledger.statuses()

    # The pool as a whole.

    def status(self) -> PoolStatus:
        """Return a snapshot of the pools in use, with this pool's own calls; copies and handovers are not counted.

        If v1 is in use, this waits for the manager's I/O, as v1's own status does.
        """
        self._require_owner()
        found = [self._traffic.pools[side].status() for side in self.position.uses]
        return PoolStatus(
            name=self.name,
            version=self.version,
            state="closed" if self._closed else found[0].state,
            target=sum(status.target for status in found),
            workers=tuple(worker for status in found for worker in status.workers),
            waiting=sum(status.waiting for status in found),
            sessions=len(self.sessions()),
            statistics=self._accounts.sum_up(),
        )

    def health_check(self) -> Health:
        """Return whether the pools in use can serve at their full size."""
        self._require_owner()
        found = {side: self._traffic.pools[side].health_check() for side in self.position.uses}
        return Health(
            healthy=all(health.healthy for health in found.values()),
            live=sum(health.live for health in found.values()),
            target=sum(health.target for health in found.values()),
            reasons=tuple(f"{side}: {reason}" for side, health in found.items() for reason in health.reasons),
        )

    def warm_up(self, n: int | None = None) -> int:
        """Start workers until `n` are ready in each pool in use. Returns the lowest number of ready workers."""
        self._require_owner()
        return min(self._traffic.pools[side].warm_up(n) for side in self.position.uses)

    def close(self, grace_s: float | None = None) -> None:
        """Close both pools at the same time, each with `grace_s` seconds for running calls. Idempotent."""
        self._require_owner()
        with self._closing:
            self._closed = True
            self._watch.stop()
            self._membership.close()
            self._shadow.stop()
            pools = self._traffic.pools
            other = threading.Thread(
                target=_close_candidate, args=(pools[Side.V2], grace_s), name="migration-close", daemon=True
            )
            other.start()
            try:
                pools[Side.V1].close(grace_s)
            finally:
                other.join((0.0 if grace_s is None else min(grace_s, 86400.0)) + CLOSE_EXTRA_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if os.getpid() == self._pid:  # a forked child that leaves the block has nothing to close
            self.close()

    def _require_owner(self) -> None:
        if os.getpid() != self._pid:
            raise PoolClosed(f"pool {self.name!r} belongs to process {self._pid}; this process is a forked child")

    # The migration.

    @property
    def position(self) -> Position:
        """The position of the migration in this process."""
        return self._control.position

    def change(self, position: Position | str, *, why: str, who: str = "") -> None:
        """Activate a position here and in the state file; `position` may be text such as "canary:25".

        Calls that have begun end on their pool. Raises ConfigError, and StateError if the state file cannot be written
        or a flag sets the position.
        """
        self._require_owner()
        self._control.change(Position.parse(position) if isinstance(position, str) else position, who=who, why=why)

    def promote(self, *, why: str, who: str = "") -> Position:
        """Go to the plan's next step and return it. Raises ConfigError if there is none."""
        following = self._plan.next_step(self.position)
        if following is None:
            raise ConfigError("v2 serves everything already, so there is no next step")
        self.change(following, who=who, why=why)
        return following

    def roll_back(self, *, why: str, who: str = "") -> None:
        """Let v1 serve everything from now on. Succeeds in this process even if the state file cannot be written.

        Where a flag sets the position, this process alone rolls back, until the flag changes.
        """
        self._require_owner()
        self._control.roll_back(why, who=who)

    def replace_candidate(self, v2: Pool, *, grace_s: float | None = None) -> None:
        """Replace v2 with another pool, for example a fixed one, and close the old one. Only while v1 serves alone.

        Sessions that lived on the old pool are rebuilt by their next calls. Raises ConfigError unless v1 serves alone.
        """
        self._require_owner()
        with self._control.hold():
            old = self._traffic.replace(Side.V2, v2)
            self._shadow.pool = v2
        old.close(grace_s)

    def report(self) -> Report:
        """Return the state of the migration and the figures of the guardrails."""
        homes = [record.home.value for record in self._traffic.ledger.records() if record.known]
        return Report(
            position=str(self.position),
            windows=self._metrics.figures(),
            shadow=self._shadow.figures(),
            sessions={home: homes.count(home) for home in sorted(set(homes))},
            last_breach=self._control.last_breach,
            trouble=self._membership.trouble,
            paused=self._control.paused,
            served=self._metrics.served(),
            state_file=self._membership.place,
            flag=self._control.flag,
        )


def _close_candidate(pool: Pool, grace_s: float | None) -> None:
    try:
        pool.close(grace_s)
    except Exception:  # v1 is closed anyway
        logger.exception("v2 could not be closed")

"""Runs the calls of a migration, each on one pool. Calls of one session run one after another, on the session's pool.

Independent of state files and limits: reads the active step once per call, and reports to the guardrail metrics.
"""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import msgspec

from poolproof.bridge import (
    CheckoutTimeout,
    CircuitOpen,
    CommandError,
    ConfigError,
    InvalidRequest,
    Pool,
    PoolClosed,
    PoolError,
    QueueFull,
    Sent,
    SessionLost,
    StartFailed,
    WorkerCrashed,
)
from poolproof.bridge.clock import now_ns, remaining_s
from poolproof.bridge.config import duration
from poolproof.migration.control import Control, Step
from poolproof.migration.plan import Mode, Plan, Side
from poolproof.migration.sessions import (
    Ledger,
    Record,
    building_failed,
    call_failed,
    call_succeeded,
    needs_building,
    require_kept,
    route_of,
)
from poolproof.migration.shadowing.metrics import GuardrailMetrics
from poolproof.migration.shadowing.shadow import Shadow
from poolproof.migration.turns import Turns

REFUSALS = (PoolClosed, CircuitOpen, QueueFull, WorkerCrashed, StartFailed)
"""Errors that, if nothing was sent, mean that this pool takes no calls now; the other pool may."""
LEAST_S = 0.001
"""The minimum timeout for a call whose time is over, in seconds: so the pool itself raises the timeout error."""
_encoder = msgspec.json.Encoder()


class Traffic:
    """Runs calls on the two pools of `pools`. Every method may be called from any thread."""

    def __init__(
        self, pools: dict[Side, Pool], plan: Plan, control: Control, shadow: Shadow, metrics: GuardrailMetrics
    ) -> None:
        self.pools = pools
        self.ledger = Ledger(threading.RLock)
        self._plan = plan
        self._control = control
        self._shadow = shadow
        self._metrics = metrics
        self.turns = Turns(control, metrics)
        self._v1 = pools[Side.V1]
        self._state_commands = plan.state_commands
        for status in pools[Side.V1].sessions():
            record = self.ledger.begin(status.session_id)
            record.began(Side.V1)
            record.doubt = "the session began before the migration"

    # Calls outside sessions.

    def run(
        self, command: str, args: dict[str, Any] | None, timeout_s: float | None, checkout_timeout_s: float | None
    ) -> Any:  # noqa: ANN401 - any JSON value
        """Run one call outside sessions, in a step that is measured."""
        step = self._control.step
        if step.position.mode is Mode.SHADOW:
            if command in self._plan.idempotent:
                return self._run_shadowed(step, command, args, timeout_s, checkout_timeout_s)
            return self._on(step, Side.V1, command, args, None, timeout_s, checkout_timeout_s)
        start_ns = now_ns()
        side = self.turns.side(step, command)
        if side is Side.V1:
            return self._on(step, side, command, args, None, timeout_s, checkout_timeout_s)
        try:
            return self._on(step, side, command, args, None, timeout_s, checkout_timeout_s)
        except REFUSALS as error:
            if error.sent is not Sent.NO or not self._plan.fall_back:
                raise
            if timeout_s is not None:
                timeout_s -= (now_ns() - start_ns) / 1e9
                if timeout_s <= 0:
                    raise
        value = self.pools[Side.V1].execute(
            command, args, timeout_s=timeout_s, checkout_timeout_s=shorter(checkout_timeout_s, timeout_s)
        )
        self._metrics.count(step.epoch, Side.V1, "result")
        return value

    def _run_shadowed(
        self,
        step: Step,
        command: str,
        args: dict[str, Any] | None,
        timeout_s: float | None,
        checkout_timeout_s: float | None,
    ) -> Any:  # noqa: ANN401
        try:
            value = self._on(step, Side.V1, command, args, None, timeout_s, checkout_timeout_s)
        except CommandError as error:
            self._shadow.offer(step.epoch, command, args, "CommandError", None, error.message)
            raise
        self._shadow.offer(step.epoch, command, args, "result", value)
        return value

    def _on(
        self,
        step: Step,
        side: Side,
        command: str,
        args: dict[str, Any] | None,
        session_id: str | None,
        timeout_s: float | None,
        checkout_timeout_s: float | None,
    ) -> Any:  # noqa: ANN401
        # Runs one call on one pool. Reports it to the metrics, unless v1 serves alone.
        pool = self.pools[side]
        metrics, call, start_ns = self._metrics, object(), now_ns()
        if side is Side.V2:
            metrics.began(step.epoch, call, start_ns)
        outcome = "Cancelled"
        try:
            value = pool.execute(
                command, args, session=session_id, timeout_s=timeout_s, checkout_timeout_s=checkout_timeout_s
            )
            outcome = "result"
            return value
        except Exception as error:
            outcome = type(error).__name__
            if side is Side.V2 and session_id is not None and isinstance(error, SessionLost):
                metrics.lost(step.epoch, session_id)
            raise
        finally:
            metrics.ended(step.epoch, side, call, start_ns, outcome)
            metrics.count(step.epoch, side, outcome)

    # Calls of sessions.

    def run_in_session(
        self,
        session_id: str,
        command: str,
        args: dict[str, Any] | None,
        timeout_s: float | None,
        checkout_timeout_s: float | None,
    ) -> Any:  # noqa: ANN401
        """Run one call of a session when its turn comes. Kept short, because v1 mode must cost almost nothing."""
        deadline_ns = None if timeout_s is None else now_ns() + int(duration("timeout_s", timeout_s) * 1e9)
        records = self.ledger.table
        record: Record | None = None
        try:  # an interrupt may come at any point, so the `try` begins before the turn is acquired
            record = records.get(session_id)
            if record is None or not record.turn.acquire(False):
                record = None
                record = self._take_turn(session_id, timeout_s, checkout_timeout_s)
            elif records.get(session_id) is not record:  # the session ended at the same time
                record.turn.release()
                record = None
                record = self._take_turn(session_id, timeout_s, checkout_timeout_s)
            step = self._control.step
            if record.epoch != step.epoch:
                self._settle(record, step, deadline_ns)
            if deadline_ns is not None:
                timeout_s = rest_s(deadline_ns)
            changes = command in self._state_commands
            try:
                sent = freeze(command, args) if changes else b""
                if step.plain:
                    value = self._v1.execute(
                        command, args, session=session_id, timeout_s=timeout_s, checkout_timeout_s=checkout_timeout_s
                    )
                    self._metrics.ends.append(step.good)
                else:
                    value = self._on(step, record.side, command, args, session_id, timeout_s, checkout_timeout_s)
            except BaseException as error:
                if step.plain:
                    outcome = type(error).__name__ if isinstance(error, Exception) else "Cancelled"
                    self._metrics.count(step.epoch, Side.V1, outcome)
                call_failed(self.ledger, record, self._plan, command, error)
                raise
            call_succeeded(self.ledger, record, self._plan, command, sent if changes else None)
            return value
        finally:
            if record is not None:
                _give_up_turn(record)

    def _take_turn(self, session_id: str, timeout_s: float | None, checkout_timeout_s: float | None) -> Record:
        # Returns the session's record and holds its turn. If the session ended while this call waited, begins a new
        # one.
        ledger = self.ledger
        while True:
            record = ledger.begin(session_id)
            try:
                if not record.turn.acquire(False):
                    wait_s = shorter(checkout_timeout_s, timeout_s)
                    limit_s = duration("checkout_timeout_s", wait_s, self._plan.session_wait_s)
                    if not record.turn.acquire(timeout=limit_s):
                        told = f"session {session_id!r}: another call of the session was running for {limit_s:g} s"
                        raise CheckoutTimeout(told)
                if ledger.get(session_id) is record:
                    return record
            except BaseException:
                _give_up_turn(record)
                raise
            record.turn.release()

    def _settle(self, record: Record, step: Step, deadline_ns: int | None) -> None:
        # Settles the session for this step; rebuilds it if needed. Raises SessionLost, or a pool error if it must be
        # retried.
        require_kept(record)
        route = route_of(record, step.position, self._plan)
        if not record.lost and needs_building(record, route):
            self._build_up(record, route.side, deadline_ns)
        if record.lost:
            self._metrics.lost(step.epoch, record.session_id)
            require_kept(record)
        record.settled(route.side, step.epoch)

    def _build_up(self, record: Record, side: Side, deadline_ns: int | None) -> None:
        # Rebuilds the session on pool `side` from its log, after the pool has forgotten older traces of the session.
        pool = self.pools[side]
        try:
            if side in record.traces:
                pool.end_session(record.session_id)
            if record.log:
                record.traces.add(side)
            for change in record.log:
                args = msgspec.json.decode(change.args)
                pool.execute(change.command, args, session=record.session_id, timeout_s=rest_s(deadline_ns))
        except PoolError as error:
            building_failed(record, side, error)
            if not record.lost:
                raise
        else:
            record.moved(side)

    def end_session(self, session_id: str) -> bool:
        """Forget the session. Returns False if the session did not exist.

        A pool that cannot forget it now, or is not in use, does so before it gets a session of that id again.
        """
        record = self.ledger.get(session_id)
        if record is None or not record.known:
            return False
        taken: Record | None = None
        try:
            record = taken = self._take_turn(session_id, None, None)
            known = record.known
            cleaned: set[Side] = set()
            for side in record.traces & set(self._control.position.uses):
                try:
                    self.pools[side].end_session(session_id)
                except PoolError:
                    continue  # the pool will forget its traces before it gets a session of that id again
                cleaned.add(side)
            self.ledger.end(record, cleaned)
            return known
        finally:
            if taken is not None:
                _give_up_turn(taken)

    def replace(self, side: Side, pool: Pool) -> Pool:
        """Replace the pool of `side` and return the old one. Sessions that lived there are rebuilt from their logs.

        Raises ConfigError, without a change, if a session's call still runs after the plan's session_wait_s.
        """
        records = self.ledger.records()
        until_ns = now_ns() + int(self._plan.session_wait_s * 1e9)
        try:
            for record in records:
                if not record.turn.acquire(timeout=max(remaining_s(until_ns), 0.0)):
                    raise ConfigError(
                        f"session {record.session_id!r} has a running call; {side} is replaced after that call"
                    )
            for record in records:
                record.detach(side)
            old, self.pools[side] = self.pools[side], pool
        finally:
            for record in records:
                _give_up_turn(record)
        return old


def _give_up_turn(record: Record) -> None:
    # Suppresses the error if this thread does not hold the turn: an interrupt may have come before it was acquired.
    with contextlib.suppress(RuntimeError):
        record.turn.release()


def freeze(command: str, args: dict[str, Any] | None) -> bytes:
    """Encode the arguments as sent, so that later changes of the caller's objects have no effect.

    Raises InvalidRequest.
    """
    try:
        return _encoder.encode(args or {})
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidRequest(f"the arguments of {command!r} are not JSON: {error}") from error


def rest_s(deadline_ns: int | None) -> float | None:
    """Return the seconds until the deadline, at least LEAST_S; None without a deadline."""
    return None if deadline_ns is None else max(remaining_s(deadline_ns), LEAST_S)


def shorter(one: float | None, other: float | None) -> float | None:
    """Return the smaller of two limits; None means no limit."""
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)

"""AsyncMigratingPool: two pools as one for asyncio. Each is an AsyncPool, or a blocking pool, which runs in threads.

Belongs to one event loop. Sessions, routes and limits are decided by the same code as in MigratingPool.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self

import msgspec

from poolproof.bridge import (
    CheckoutTimeout,
    CommandError,
    ConfigError,
    PoolError,
    PoolStatus,
    Sent,
    SessionLost,
    SessionStatus,
)
from poolproof.bridge.clock import now_ns
from poolproof.bridge.config import duration
from poolproof.bridge.session_calls import AsyncSessionCalls
from poolproof.harness.model.intended import Comparing
from poolproof.migration.control import Moved, Step
from poolproof.migration.faces.batches import end_all, settle
from poolproof.migration.faces.leases import AsyncMigratingLease, AsyncMigratingStream, require
from poolproof.migration.faces.switch import Switch, SwitchReport
from poolproof.migration.faces.threaded import Threaded, blocks
from poolproof.migration.plan import Mode, Plan, Position, Side
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
from poolproof.migration.shadowing.shadow import Shadow, ShadowFigures
from poolproof.migration.traffic import REFUSALS, freeze, rest_s, shorter
from poolproof.migration.turns import Turn


class AsyncMigratingPool(AsyncSessionCalls):
    """v1 and v2 as one pool with `await`. Takes ownership of both: `close` closes both.

    A call on a blocking pool runs in a thread; if its task is cancelled, the call goes on and its result is dropped.
    Copies of shadow mode need a v2 that threads can call: a blocking pool, or an AsyncPool. Raises ConfigError for an
    invalid plan, StateError if the state file cannot be written.
    """

    version = "migrating"

    def __init__(
        self,
        v1: Any,  # noqa: ANN401 - an AsyncPool or a blocking pool
        v2: Any,  # noqa: ANN401
        plan: Plan | None = None,
        *,
        comparing: Comparing | None = None,
        on_change: Callable[[Moved], None] | None = None,
    ) -> None:
        if v1 is v2:
            raise ConfigError("v1 and v2 must be two different pools")
        self._plan = plan or Plan()
        copies_to = v2 if blocks(v2) else getattr(v2, "threads", None)
        if self._plan.idempotent and copies_to is None:
            raise ConfigError(f"idempotent {sorted(self._plan.idempotent)!r}: threads cannot call v2 to copy calls")
        self._ledger = Ledger(asyncio.Lock)
        self._sides: dict[Side, Any] = {
            side: Threaded(pool) if blocks(pool) else pool for side, pool in ((Side.V1, v1), (Side.V2, v2))
        }
        self.switch = Switch(str(v1.name), self._plan, self._ledger, on_change)
        self._metrics = self.switch.metrics
        self._shadow = Shadow(
            v2 if copies_to is None else copies_to, self._plan, comparing or Comparing(), self._metrics
        )
        for status in v1.sessions():
            record = self._ledger.begin(status.session_id)
            record.began(Side.V1)
            record.doubt = "the session began before the migration"

    @property
    def name(self) -> str:
        """The name of v1, because this pool replaces v1."""
        return str(self._sides[Side.V1].name)

    # Calls.

    async def execute(
        self,
        command: str,
        args: dict[str, Any] | None = None,
        *,
        session: str | None = None,
        timeout_s: float | None = None,
        checkout_timeout_s: float | None = None,
    ) -> Any:  # noqa: ANN401 - any JSON value
        """Run one command on the pool that serves it. Timeouts and errors are that pool's; also raises SessionLost."""
        if session is not None:
            return await self._run_in_session(session, command, args, timeout_s, checkout_timeout_s)
        limits = {"timeout_s": timeout_s, "checkout_timeout_s": checkout_timeout_s}
        turn, start_ns = self.switch.turns.take(command), now_ns()
        copied = turn.step.position.mode is Mode.SHADOW and command in self._plan.idempotent
        try:
            value = await self._on(turn, command, args, None, limits)
        except CommandError as error:
            if copied:
                self._shadow.offer(turn.step.epoch, command, args, "CommandError", None, error.message)
            raise
        except REFUSALS as error:
            if turn.side is Side.V1 or error.sent is not Sent.NO or not self._plan.fall_back:
                raise
            if timeout_s is not None:
                timeout_s -= (now_ns() - start_ns) / 1e9
                if timeout_s <= 0:
                    raise
            limits = {"timeout_s": timeout_s, "checkout_timeout_s": shorter(checkout_timeout_s, timeout_s)}
            return await self._on(self.switch.turns.fall_back(turn), command, args, None, limits)
        if copied:
            self._shadow.offer(turn.step.epoch, command, args, "result", value)
        return value

    async def execute_many(
        self,
        command: str,
        items: Iterable[dict[str, Any]],
        *,
        return_errors: bool = False,
        timeout_s: float | None = None,
        checkout_timeout_s: float | None = None,
    ) -> list[Any]:
        """Run `command` once for each item outside sessions, all on the pool that serves the batch, in order."""
        turns, given = self.switch.turns, list(items)
        turn = turns.take(command)
        turn.drop()
        call = require(self._sides[turn.side], turn.side, "execute_many")
        calls = [turns.on(turn.side) for _ in given]
        try:
            found = await call(
                command, given, return_errors=True, timeout_s=timeout_s, checkout_timeout_s=checkout_timeout_s
            )
        except BaseException as error:
            end_all(calls, _outcome(error))
            raise
        return settle(calls, found, return_errors)

    def execute_stream(
        self, command: str, args: dict[str, Any] | None = None, **limits: float | None
    ) -> AsyncMigratingStream:
        """`execute` in parts, outside sessions: `async with pool.execute_stream(...) as parts: async for …`."""

        def take() -> tuple[Any, Turn]:
            turn = self.switch.turns.take(command)
            try:
                return require(self._sides[turn.side], turn.side, "execute_stream")(command, args, **limits), turn
            except BaseException:
                turn.drop()
                raise

        return AsyncMigratingStream(take)

    def checkout(self, command: Any = None, **limits: float | None) -> AsyncMigratingLease:  # noqa: ANN401
        """Lease a worker for an `async with` block. The lease stays on its pool to its end."""

        def take() -> tuple[Any, Callable[[], Turn]]:
            turn = self.switch.turns.take("checkout")
            turn.drop()
            side = turn.side
            lease = require(self._sides[side], side, "checkout")(command, **limits)
            return lease, lambda: self.switch.turns.on(side)

        return AsyncMigratingLease(take)

    async def _on(
        self,
        turn: Turn,
        command: str,
        args: dict[str, Any] | None,
        session_id: str | None,
        limits: dict[str, float | None],
    ) -> Any:  # noqa: ANN401
        outcome = "Cancelled"
        try:
            value = await self._sides[turn.side].execute(command, args, session=session_id, **limits)
            outcome = "result"
            return value
        except Exception as error:
            outcome = type(error).__name__
            if turn.side is Side.V2 and session_id is not None and isinstance(error, SessionLost):
                self._metrics.lost(turn.step.epoch, session_id)
            raise
        finally:
            turn.end(outcome)

    # Sessions.

    async def _run_in_session(
        self,
        session_id: str,
        command: str,
        args: dict[str, Any] | None,
        timeout_s: float | None,
        checkout_timeout_s: float | None,
    ) -> Any:  # noqa: ANN401
        plan = self._plan
        deadline_ns = None if timeout_s is None else now_ns() + int(duration("timeout_s", timeout_s) * 1e9)
        record = await self._take_turn(session_id, shorter(checkout_timeout_s, timeout_s))
        try:
            step = self.switch.control.step
            if record.epoch != step.epoch:
                await self._settle(record, step, deadline_ns)
            sent = freeze(command, args) if command in plan.state_commands else None
            turn = self.switch.turns.on(record.side)
            limits = {"timeout_s": rest_s(deadline_ns), "checkout_timeout_s": checkout_timeout_s}
            try:
                value = await self._on(turn, command, args, session_id, limits)
            except BaseException as error:
                call_failed(self._ledger, record, plan, command, error)
                raise
            call_succeeded(self._ledger, record, plan, command, sent)
            return value
        finally:
            record.turn.release()

    async def _take_turn(self, session_id: str, wait_s: float | None) -> Record:
        limit_s = duration("checkout_timeout_s", wait_s, self._plan.session_wait_s)
        while True:
            record = self._ledger.begin(session_id)
            try:
                async with asyncio.timeout(limit_s):
                    await record.turn.acquire()
            except TimeoutError as error:
                told = f"session {session_id!r}: another call of the session was running for {limit_s:g} s"
                raise CheckoutTimeout(told) from error
            if self._ledger.get(session_id) is record:
                return record
            record.turn.release()  # the session ended meanwhile

    async def _settle(self, record: Record, step: Step, deadline_ns: int | None) -> None:
        require_kept(record)
        route = route_of(record, step.position, self._plan)
        if not record.lost and needs_building(record, route):
            await self._build_up(record, route.side, deadline_ns)
        if record.lost:
            self._metrics.lost(step.epoch, record.session_id)
            require_kept(record)
        record.settled(route.side, step.epoch)

    async def _build_up(self, record: Record, side: Side, deadline_ns: int | None) -> None:
        pool = self._sides[side]
        try:
            if side in record.traces:
                await pool.end_session(record.session_id)
            if record.log:
                record.traces.add(side)
            for change in record.log:
                args = msgspec.json.decode(change.args)
                await pool.execute(change.command, args, session=record.session_id, timeout_s=rest_s(deadline_ns))
        except PoolError as error:
            building_failed(record, side, error)
            if not record.lost:
                raise
        else:
            record.moved(side)

    async def end_session(self, session_id: str) -> bool:
        """Forget the session. Returns False if the session did not exist."""
        record = self._ledger.get(session_id)
        if record is None or not record.known:
            return False
        record = await self._take_turn(session_id, None)
        try:
            known, cleaned = record.known, set[Side]()
            for side in record.traces & set(self.position.uses):
                try:
                    await self._sides[side].end_session(session_id)
                except PoolError:
                    continue  # the pool will forget its traces before it gets a session of that id again
                cleaned.add(side)
            self._ledger.end(record, cleaned)
            return known
        finally:
            record.turn.release()

    def sessions(self) -> tuple[SessionStatus, ...]:
        """Return the sessions of both pools that have not ended."""
        return self._ledger.statuses()

    # The migration.

    @property
    def position(self) -> Position:
        """The position of the migration in this process."""
        return self.switch.position

    def change(self, position: Position | str, *, why: str, who: str = "") -> None:
        """Activate a position here and in the state file; see MigratingPool.change."""
        self.switch.change(position, why=why, who=who)

    def roll_back(self, *, why: str, who: str = "") -> None:
        """Let v1 serve everything from now on."""
        self.switch.roll_back(why=why, who=who)

    def report(self) -> SwitchReport:
        """Return the state of the migration and the figures of the guardrails."""
        return self.switch.report()

    def copies(self) -> ShadowFigures:
        """Return the counts of shadow mode's copies."""
        return self._shadow.figures()

    def status(self) -> dict[Side, PoolStatus]:
        """Return the status of each pool in use. Waits for v1's manager if v1 is a PoolV1."""
        return {side: self._sides[side].status() for side in self.position.uses}

    async def warm_up(self, n: int | None = None) -> int:
        """Start workers until `n` are ready in each pool in use. Returns the lowest number of ready workers."""
        return int(min([await self._sides[side].warm_up(n) for side in self.position.uses]))

    async def close(self, grace_s: float | None = None) -> None:
        """Close both pools, each with `grace_s` seconds for running calls. Idempotent."""
        self.switch.close()
        self._shadow.stop()
        found = await asyncio.gather(*(self._sides[side].close(grace_s) for side in Side), return_exceptions=True)
        for error in found:
            if isinstance(error, BaseException):
                raise error

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _outcome(error: BaseException) -> str:
    return type(error).__name__ if isinstance(error, Exception) else "Cancelled"

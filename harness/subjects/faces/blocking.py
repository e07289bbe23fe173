"""The blocking faces of V2 beside `execute`: a lease for each call, batches, streams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from poolproof.bridge import CommandError, Pool, PoolError
from poolproof.bridge.clock import deadline_ns, remaining_s
from poolproof.harness.model.face import Face, Setting, Way, refuse_sessions
from poolproof.harness.model.fault import CLIENT_FAULTS, START_FAULTS, FaultKind
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.workload import Plan, Step
from poolproof.pool_v2 import PoolV2

SHORTEST_S = 0.001
ONLY_A_CHECKOUT = frozenset({"CheckoutTimeout", "QueueFull"})
"""What only a checkout is refused with, and no call on a lease comes to."""


class Leases(Way):
    """`checkout` for each call, and the call on the lease. The limit of the call bounds both together."""

    def execute(
        self,
        command: str,
        args: dict[str, Any],
        *,
        session: str | None = None,
        timeout_s: float | None = None,
        checkout_timeout_s: float | None = None,
    ) -> Any:  # noqa: ANN401
        """One call on a lease of its own."""
        deadline = None if timeout_s is None else deadline_ns(timeout_s)
        refused: CommandError | None = None
        value: Any = None
        pool = cast("PoolV2", self.pool)
        with pool.checkout(command, timeout_s=timeout_s, checkout_timeout_s=checkout_timeout_s) as worker:
            try:
                left_s = None if deadline is None else max(SHORTEST_S, remaining_s(deadline))
                value = worker.execute(command, args, timeout_s=left_s)
            except CommandError as error:
                refused = error  # raised inside the block it would end the worker
        if refused is not None:
            raise refused
        return value


class Batches(Way):
    """`execute_many`: equal steps that a client has in a row go out together."""

    def execute(
        self,
        command: str,
        args: dict[str, Any],
        *,
        session: str | None = None,
        timeout_s: float | None = None,
        checkout_timeout_s: float | None = None,
    ) -> Any:  # noqa: ANN401
        """A batch of one."""
        (value,) = cast("PoolV2", self.pool).execute_many(
            command,
            [args],
            session=session,
            return_errors=True,
            timeout_s=timeout_s,
            checkout_timeout_s=checkout_timeout_s,
        )
        if isinstance(value, PoolError):
            raise value
        return value

    def execute_batch(self, steps: Sequence[Step], args: Sequence[dict[str, Any]]) -> list[Any]:
        """All of them in one batch."""
        first = steps[0]
        return cast("PoolV2", self.pool).execute_many(
            first.command,
            args,
            session=first.session,
            return_errors=True,
            timeout_s=first.timeout_s,
            checkout_timeout_s=first.checkout_timeout_s,
        )


class Streams(Way):
    """`execute_stream`: the parts of an answer as a list, or the one answer of a command that makes no parts."""

    def execute(
        self,
        command: str,
        args: dict[str, Any],
        *,
        session: str | None = None,
        timeout_s: float | None = None,
        checkout_timeout_s: float | None = None,
    ) -> Any:  # noqa: ANN401
        """One stream, read to its end."""
        pool = cast("PoolV2", self.pool)
        with pool.execute_stream(
            command, args, session=session, timeout_s=timeout_s, checkout_timeout_s=checkout_timeout_s
        ) as stream:
            parts = list(stream)
        return joined(command, parts)


def joined(command: str, parts: list[Any]) -> Any:  # noqa: ANN401
    """The answer of `execute` that these parts of a stream make. Raises AssertionError for another number of parts."""
    if command in STREAMING:
        return parts
    if len(parts) != 1:
        raise AssertionError(f"{command!r} makes one answer, and its stream had {len(parts)} parts")
    return parts[0]


STREAMING = frozenset({"parts"})
"""Commands whose answer comes in parts; `execute` gives all in a list."""


def _refuse_lease(scenario: Scenario, plan: Plan) -> str:
    return refuse_sessions(plan)


def _void_lease(scenario: Scenario, plan: Plan) -> tuple[str, ...]:
    # A checkout that is refused is no call. What it was refused with a call on a lease may have come to as well.
    kinds = {fault.kind for fault in scenario.faults}
    return ("conserved",) if kinds & {FaultKind.CLOSE, *START_FAULTS, *CLIENT_FAULTS} else ()


def _void_batch(scenario: Scenario, plan: Plan) -> tuple[str, ...]:
    # A batch with an item that is too large is refused before any of it is counted.
    return ("conserved",) if "max_frame_bytes" in scenario.config else ()


def _lease(pool: Pool, setting: Setting) -> Way:
    return Leases(pool)


LEASE = Face(
    name="lease",
    summary="a worker checked out for each call, and the call on the lease",
    over=_lease,
    refuses=_refuse_lease,
    void=_void_lease,
    uncounted=ONLY_A_CHECKOUT,
)
MANY = Face(
    name="many",
    summary="execute_many: equal calls that follow each other in one client go out together",
    over=lambda pool, _: Batches(pool),
    batches=True,
    void=_void_batch,
)
STREAM = Face(
    name="stream", summary="execute_stream, read to its end in place of execute", over=lambda pool, _: Streams(pool)
)

"""The blocking faces of V2 beside `execute`: a lease for each call, batches, and streams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from poolproof.bridge import CommandError, Pool, PoolError
from poolproof.bridge.clock import deadline_ns, remaining_s
from poolproof.harness.model.face import Face, Setting, Way, refuse_sessions
from poolproof.harness.model.fault import CLIENT_FAULTS, CLOSING, START_FAULTS
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.workload import Plan, Step
from poolproof.pool_v2 import PoolV2

SHORTEST_S = 0.001
ONLY_ITEM = "item 0 of 1: "
"""How the error of a batch of one names its item; the same call outside a batch has the rest of the text."""
ONLY_A_CHECKOUT = frozenset({"CheckoutTimeout", "QueueFull"})
"""The errors that only a checkout can raise, and never a call on a lease."""


class Leases(Way):
    """Calls `checkout` for each call, then makes the call on the lease. The call's timeout bounds both together."""

    def execute(
        self,
        command: str,
        args: dict[str, Any],
        *,
        session: str | None = None,
        timeout_s: float | None = None,
        checkout_timeout_s: float | None = None,
    ) -> Any:  # noqa: ANN401
        """Make one call on a lease of its own."""
        deadline = None if timeout_s is None else deadline_ns(timeout_s)
        refused: CommandError | None = None
        value: Any = None
        pool = cast("PoolV2", self.pool)
        with pool.checkout(command, timeout_s=timeout_s, checkout_timeout_s=checkout_timeout_s) as worker:
            try:
                left_s = None if deadline is None else max(SHORTEST_S, remaining_s(deadline))
                value = worker.execute(command, args, timeout_s=left_s)
            except CommandError as error:
                refused = error  # raising it inside the block would end the worker
        if refused is not None:
            raise refused
        return value

    def execute_batch(self, steps: Sequence[Step], args: Sequence[dict[str, Any]]) -> list[Any]:
        """Make the calls one after another on one lease, and on a new one if a call has ended the worker.

        The timeout of the steps bounds all of the calls together.
        """
        first, found = steps[0], list[Any]()
        deadline = None if first.timeout_s is None else deadline_ns(first.timeout_s)
        while len(found) < len(steps):
            made = len(found)
            try:
                self._lease(first, args, found, deadline)
            except PoolError as error:
                if len(found) == made:  # no worker could be checked out
                    found.append(error)
        return found

    def _lease(self, first: Step, args: Sequence[dict[str, Any]], found: list[Any], deadline: int | None) -> None:
        # Appends the answers of the remaining calls, up to a call that ends its worker.
        def left_s() -> float | None:
            return None if deadline is None else max(SHORTEST_S, remaining_s(deadline))

        pool = cast("PoolV2", self.pool)
        with pool.checkout(first.command, timeout_s=left_s(), checkout_timeout_s=first.checkout_timeout_s) as worker:
            while len(found) < len(args):
                try:
                    found.append(worker.execute(first.command, args[len(found)], timeout_s=left_s()))
                except CommandError as error:
                    found.append(error)
                except PoolError as error:
                    found.append(error)
                    raise


class Batches(Way):
    """Calls `execute_many`: equal steps that follow each other in a client are sent together."""

    def execute(
        self,
        command: str,
        args: dict[str, Any],
        *,
        session: str | None = None,
        timeout_s: float | None = None,
        checkout_timeout_s: float | None = None,
    ) -> Any:  # noqa: ANN401
        """Make one call as a batch of one, whose error is raised."""
        try:
            (value,) = cast("PoolV2", self.pool).execute_many(
                command, [args], session=session, timeout_s=timeout_s, checkout_timeout_s=checkout_timeout_s
            )
        except PoolError as error:
            error.message = error.message.removeprefix(ONLY_ITEM)
            raise
        return value

    def execute_batch(self, steps: Sequence[Step], args: Sequence[dict[str, Any]]) -> list[Any]:
        """Send all steps in one batch."""
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
    """Calls `execute_stream`; returns the parts of an answer as a list, or the answer of a command without parts."""

    def execute(
        self,
        command: str,
        args: dict[str, Any],
        *,
        session: str | None = None,
        timeout_s: float | None = None,
        checkout_timeout_s: float | None = None,
    ) -> Any:  # noqa: ANN401
        """Make one call as a stream, read to its end."""
        pool = cast("PoolV2", self.pool)
        with pool.execute_stream(
            command, args, session=session, timeout_s=timeout_s, checkout_timeout_s=checkout_timeout_s
        ) as stream:
            parts = list(stream)
        return joined(command, parts)


def joined(command: str, parts: list[Any]) -> Any:  # noqa: ANN401
    """Return the answer that `execute` would give for these parts. Raises AssertionError for a wrong number."""
    if command in STREAMING:
        return parts
    if len(parts) != 1:
        raise AssertionError(f"{command!r} makes one answer, but its stream had {len(parts)} parts")
    return parts[0]


STREAMING = frozenset({"parts"})
"""Commands whose answer is a stream of parts; `execute` returns all parts in a list."""


def refuse_lease(scenario: Scenario, plan: Plan) -> str:
    """Return why the calls of this plan cannot be made on leases; empty if they can."""
    return refuse_sessions(plan)


def void_lease(scenario: Scenario, plan: Plan) -> tuple[str, ...]:
    """Return the checkers that do not apply to calls on leases."""
    # The pool counts no call for a refused checkout, and with these faults a call on a lease may end in the same error.
    kinds = {fault.kind for fault in scenario.faults}
    return ("conserved",) if kinds & {*CLOSING, *START_FAULTS, *CLIENT_FAULTS} else ()


def void_batch(scenario: Scenario, plan: Plan) -> tuple[str, ...]:
    """Return the checkers that do not apply to batches."""
    # A batch with one item that is too large is refused before the pool counts any of its items.
    return ("conserved",) if "max_frame_bytes" in scenario.config else ()


def _lease(pool: Pool, setting: Setting) -> Way:
    return Leases(pool)


LEASE = Face(
    name="lease",
    summary="a worker is checked out for each call, or for several equal calls, which are made on the lease",
    over=_lease,
    batches=True,
    refuses=refuse_lease,
    void=void_lease,
    uncounted=ONLY_A_CHECKOUT,
)
MANY = Face(
    name="many",
    summary="pool.execute_many: consecutive calls of one client with the same command go out together",
    over=lambda pool, _: Batches(pool),
    batches=True,
    void=void_batch,
)
STREAM = Face(
    name="stream", summary="pool.execute_stream instead of execute, read to its end", over=lambda pool, _: Streams(pool)
)

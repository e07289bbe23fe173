"""The face of PoolExecutor: each call submits a function that runs the command in the worker."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import CancelledError, Future
from typing import Any, cast

import msgspec

from poolproof.bridge import CommandError, Pool, PoolClosed, PoolConfig, PoolError, Sent, WorkerCrashed
from poolproof.bridge.worker.handlers.context import HandlerError
from poolproof.bridge.worker.journal import JOURNAL_VARIABLE
from poolproof.harness.model.face import Face, Setting, Way, refuse_sessions
from poolproof.harness.model.fault import CLIENT_FAULTS, CLOSING, FaultKind
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.workload import Plan, Step
from poolproof.harness.subjects.carried import CARRIED_VARIABLE, COMMANDS, carry_out
from poolproof.pool_v2 import PoolV2
from poolproof.pool_v2.executor.callables import Initialization
from poolproof.pool_v2.executor.dispatch import Dispatch
from poolproof.pool_v2.executor.executor import CallCrashed, ExecutorShutdown, PoolExecutor
from poolproof.pool_v2.executor.pending import Batch

CHUNK = 2
MAY_FAIL = frozenset({"fail"})


class ExecutorOver(PoolExecutor):
    """A PoolExecutor over an existing pool, so that the calls run on the pool under test."""

    def __init__(self, pool: PoolV2, config: PoolConfig) -> None:
        self._timeout_s = None
        self._origin = None
        self._dispatch = Dispatch(pool, config, initialization=Initialization(None, ()))

    def submit_together(self, function: Callable[..., Any], calls: Iterable[tuple[Any, ...]]) -> list[Future[Any]]:
        """Submit the calls as `map` does, so that a worker may run several at once, and return their futures."""
        batch = Batch() if self._dispatch.runs_batches and self._timeout_s is None else None
        return [self._dispatch.submit(function, call, {}, self._timeout_s, batch) for call in calls]


class Submissions(Way):
    """Calls `submit` or `map` for each call and waits for it; maps the executor's errors to those of a pool."""

    def __init__(self, pool: Pool, setting: Setting) -> None:
        super().__init__(pool)
        self._executor = ExecutorOver(cast("PoolV2", pool), setting.config)
        self._numbers = itertools.count(1)

    def execute(
        self,
        command: str,
        args: dict[str, Any],
        *,
        session: str | None = None,
        timeout_s: float | None = None,
        checkout_timeout_s: float | None = None,
    ) -> Any:  # noqa: ANN401
        """Make one call; `timeout_s` counts from the moment when a worker takes the call, as in the executor.

        Of three calls, one is submitted, one is mapped, and one is mapped in a chunk.
        """
        executor = self._executor if timeout_s is None else self._executor.with_timeout(timeout_s)
        number = next(self._numbers)
        if number % 3 == 0:
            value = _ended(executor.submit(carry_out, number, command, args).result)
        else:
            chunksize = CHUNK if number % 3 == 1 else None
            value = _ended(executor.map(carry_out, [number], [command], [args], chunksize=chunksize).__next__)
        if isinstance(value, PoolError):
            raise value
        return value

    def execute_batch(self, steps: Sequence[Step], args: Sequence[dict[str, Any]]) -> list[Any]:
        """Submit the first call, and call `map` with the others; every second batch is mapped in chunks of a fixed
        size.

        The first failure ends a map, so the calls after it have no result of their own: they get its error. Calls that
        may fail are submitted together instead, so that each has its own result, apart from the last one, which is
        mapped alone.
        """
        first, found = steps[0], list[Any]()
        executor = self._executor if first.timeout_s is None else self._executor.with_timeout(first.timeout_s)
        numbers = [next(self._numbers) for _ in steps]
        chunksize = CHUNK if numbers[0] % 2 else None
        if first.command in MAY_FAIL:
            calls = [(number, first.command, each) for number, each in zip(numbers, args, strict=True)]
            futures = executor.submit_together(carry_out, calls[:-1])
            last = executor.map(carry_out, *zip(calls[-1], strict=True), chunksize=chunksize)
            return [_ended(result) for result in (*(future.result for future in futures), last.__next__)]
        submitted = executor.submit(carry_out, numbers[0], first.command, args[0])
        commands = [first.command] * (len(steps) - 1)
        results = executor.map(carry_out, numbers[1:], commands, args[1:], chunksize=chunksize)
        found.append(_ended(submitted.result))
        for _ in commands:
            found.append(_ended(results.__next__))
            if isinstance(found[-1], PoolError):
                return found + [found[-1]] * (len(steps) - len(found))
        return found

    def close(self, grace_s: float) -> None:
        """Shut down the executor, which closes its pool."""
        self._executor.shutdown(cancel_futures=True)


def _ended(result: Callable[[], Any]) -> Any:  # noqa: ANN401 - any JSON value, or a PoolError
    try:
        return result()
    except HandlerError as error:
        return CommandError(str(error))
    except (CancelledError, ExecutorShutdown) as error:
        return PoolClosed(str(error))
    except CallCrashed as error:
        return WorkerCrashed(str(error), sent=Sent.YES)
    except PoolError as error:
        return error


def _keep_own_journal(config: PoolConfig, setting: Setting) -> PoolConfig:
    env = dict(config.env)
    env[CARRIED_VARIABLE] = env.pop(JOURNAL_VARIABLE, "")
    return msgspec.structs.replace(config, env=env)


def _refuses(scenario: Scenario, plan: Plan) -> str:
    strange = sorted({step.command for steps in plan for step in steps} - COMMANDS)
    kinds = {fault.kind for fault in scenario.faults}
    if strange:
        return f"the executor's function cannot carry out {', '.join(strange)}"
    if any(step.checkout_timeout_s is not None for steps in plan for step in steps):
        return "an executor does not limit the wait for a worker"
    if kinds & CLIENT_FAULTS:
        return "a submitted call continues when its client is interrupted"
    if kinds & {*CLOSING, FaultKind.FORK}:
        return "an executor's shutdown waits for the running calls"
    return refuse_sessions(plan)


EXECUTOR = Face(
    name="executor",
    summary="PoolExecutor: each call submits a function that carries out the command in the worker",
    over=Submissions,
    configure=_keep_own_journal,
    batches=True,
    refuses=_refuses,
    tells=False,
    limits_service=True,
    starts=True,
    lacks=frozenset({"CheckoutTimeout", "QueueFull"}),  # the executor's queue has no limit of length or time
    void=lambda scenario, plan: ("conserved",),  # the pool's counts include the calls that initialize its workers
)

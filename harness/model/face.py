"""Faces: the ways to call a pool. Each face says what it needs and which scenarios it can run.

A face wraps a pool in the object that the clients call; the rest of a run stays the same. The faces here need nothing
but a pool; the faces of V2 are in poolproof.harness.subjects.faces.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poolproof.bridge import Observer, Pool, PoolConfig
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.workload import Plan, Step

_ENDED = "poolproof_ended"
Maker = Callable[[PoolConfig, Observer | None], Pool]


def came_too_late(interrupt: BaseException, ended: Future[Any]) -> None:
    """Note on an interrupt that its call had already ended with this outcome, which the pool has counted."""
    if isinstance(interrupt, KeyboardInterrupt | SystemExit):
        setattr(interrupt, _ENDED, ended)


def ended_before(interrupt: BaseException) -> Future[Any] | None:
    """Return the outcome of the call if it had ended before this interrupt; None if the interrupt ended the call."""
    found: Future[Any] | None = getattr(interrupt, _ENDED, None)
    return found


class Way:
    """The object that clients call; this base class calls the pool itself. `pool` also gives status and sessions."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    def execute(
        self,
        command: str,
        args: dict[str, Any],
        *,
        session: str | None = None,
        timeout_s: float | None = None,
        checkout_timeout_s: float | None = None,
    ) -> Any:  # noqa: ANN401 - any JSON value
        """Make one call. Raises the errors of `bridge`."""
        return self.pool.execute(
            command, args, session=session, timeout_s=timeout_s, checkout_timeout_s=checkout_timeout_s
        )

    def execute_step(self, step: Step, args: dict[str, Any]) -> Any:  # noqa: ANN401 - any JSON value
        """Make the call of one step with these arguments. A face that can cancel calls honours `cancel_after_s`."""
        return self.execute(
            step.command,
            args,
            session=step.session,
            timeout_s=step.timeout_s,
            checkout_timeout_s=step.checkout_timeout_s,
        )

    def execute_batch(self, steps: Sequence[Step], args: Sequence[dict[str, Any]]) -> list[Any]:
        """Send equal steps together; return the result or the error of each step. Only for a face that `batches`."""
        raise NotImplementedError

    def close(self, grace_s: float) -> None:
        """Close the pool, which then refuses all calls. Idempotent."""
        self.pool.close(grace_s)

    def release(self) -> None:
        """Release what the face itself holds, after the close, when no call is made any more. Idempotent."""

    def complaints(self) -> tuple[str, ...]:
        """Return the faults that the face saw and that no call reported; each of them is a failure of the pool."""
        return ()


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a face may need beside the pool.

    `baseline` makes the other pool of a migration, with `baseline_config`. `folder` is the folder of the run.
    """

    config: PoolConfig
    folder: Path
    baseline: Maker | None = None
    baseline_config: PoolConfig | None = None


def _same(config: PoolConfig, setting: Setting) -> PoolConfig:
    return config


def _nothing(scenario: Scenario, plan: Plan) -> str:
    return ""


def _none(scenario: Scenario, plan: Plan) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True, kw_only=True)
class Face:
    """One way to call a pool.

    `over` wraps a pool that was made with the options that `configure` returns. `refuses` returns why a scenario with
    this plan cannot be run; empty if it can. `main_thread`: the first client runs in the main thread. `tells`: the
    pool's events can be matched to calls, so an observed run makes sense. `void` returns the checkers that do not apply
    to a scenario because of the face's documented contract. `batches`: equal steps of a client are sent together.
    `lacks` are outcomes that may never occur through this face, whatever the pool does: a scenario that demands one of
    them cannot be run. `uncounted` are outcomes that the face's contract leaves out of the pool's statistics.
    `limits_service`: a call's limit counts from the moment when a worker takes it, and the wait for a worker has none.
    `two_pools`: the face needs the baseline too. `starts`: the face needs the shipped worker, because it
    changes how that worker is started, or runs Python functions in it.
    `remembers` is the number of calls of which the face keeps a record: its memory grows until it has that many.
    `package` must be installed. `prepare` is called before the run's first resource snapshot: it allocates what the
    package keeps until the process ends.
    """

    name: str
    summary: str
    over: Callable[[Pool, Setting], Way] = lambda pool, _: Way(pool)
    configure: Callable[[PoolConfig, Setting], PoolConfig] = _same
    refuses: Callable[[Scenario, Plan], str] = _nothing
    main_thread: bool = False
    tells: bool = True
    void: Callable[[Scenario, Plan], tuple[str, ...]] = _none
    batches: bool = False
    lacks: frozenset[str] = frozenset()
    uncounted: frozenset[str] = frozenset()
    limits_service: bool = False
    two_pools: bool = False
    starts: bool = False
    remembers: int = 0
    package: str = ""
    prepare: Callable[[], object] = lambda: None


EXECUTE = Face(name="execute", summary="pool.execute, from threads other than the main thread")
MAIN_THREAD = Face(
    name="main_thread",
    summary="pool.execute, with the first client in the main thread of the process",
    main_thread=True,
)
USUAL_FACES = (EXECUTE, MAIN_THREAD)
"""The faces that every pool has."""


def refuse_sessions(plan: Plan) -> str:
    """Return a reason if a step of the plan is in a session; else an empty string."""
    in_session = any(step.session is not None for steps in plan for step in steps)
    return "this face has no calls of sessions" if in_session else ""

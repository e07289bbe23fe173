"""Faces: the ways in which a pool is called, each with what it needs and which scenarios it can carry.

A face makes of a pool what the clients call; everything else of a run stays the same. Those that need nothing but a
pool are here; poolproof.harness.subjects.faces has those of V2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poolproof.bridge import Observer, Pool, PoolConfig
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.workload import Plan, Step

Maker = Callable[[PoolConfig, Observer | None], Pool]


class Way:
    """What clients call: the pool itself. `pool` is what is asked for its status and sessions, and is closed."""

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
        """One call, with the errors of `bridge`."""
        return self.pool.execute(
            command, args, session=session, timeout_s=timeout_s, checkout_timeout_s=checkout_timeout_s
        )

    def execute_batch(self, steps: Sequence[Step], args: Sequence[dict[str, Any]]) -> list[Any]:
        """Equal steps at once: for each its result or its error. Only for a face that `batches`."""
        raise NotImplementedError

    def close(self, grace_s: float) -> None:
        """Close the pool, and end what the face itself holds. Idempotent."""
        self.pool.close(grace_s)

    def complaints(self) -> tuple[str, ...]:
        """What the face has seen go wrong that no call has told; each is a failure of the pool."""
        return ()


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a face may need beside the pool.

    `baseline` makes the other pool of a migration, with `baseline_config`; `folder` is the run's own.
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

    `over` makes it of the pool, which was made with what `configure` returns. `refuses` says why a scenario with this
    plan cannot be carried; empty if it can. `main_thread`: the first client is in the main thread. `tells`: the pool's
    events can be matched to calls, so that an observed run makes sense. `void` are the checkers that this face's
    documented contract makes void for a scenario. `batches`: equal steps of a client go out together.
    `lacks` are outcomes that no call through it is sure to have, whatever the pool does: a scenario that demands one of
    them cannot be carried. `uncounted` are those that its contract leaves out of the pool's statistics.
    `two_pools`: it needs the baseline too. `starts`: it is about how the shipped worker is started. `package` must be
    installed. `prepare` is called before the run's first census: it takes what the package keeps for the whole process.
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
    two_pools: bool = False
    starts: bool = False
    package: str = ""
    prepare: Callable[[], object] = lambda: None


EXECUTE = Face(name="execute", summary="execute of the pool, from threads that are not the main thread")
MAIN_THREAD = Face(
    name="main_thread", summary="execute, with the first client in the main thread of the process", main_thread=True
)
USUAL_FACES = (EXECUTE, MAIN_THREAD)
"""What every pool has."""


def refuse_sessions(plan: Plan) -> str:
    """A reason if a step of the plan is in a session."""
    in_session = any(step.session is not None for steps in plan for step in steps)
    return "calls of sessions cannot go this way" if in_session else ""

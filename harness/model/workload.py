"""Workloads: what each client of a run will call, decided before the run from its seed.

Pure: the same seed and size give the same steps. Times are relative to the run's begin.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import msgspec

from poolproof.harness.model.fault import FaultKind


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """How large a run is: worker processes, client threads, and `scale` times the usual number of calls."""

    workers: int = 4
    clients: int = 8
    scale: float = 1.0

    def count(self, usual: int) -> int:
        """`usual` calls at this scale; at least one."""
        return max(1, round(usual * self.scale))


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One call to make.

    `label` names the step for faults, for `after` and for checkers; labels may repeat. `after` is "LABEL:sent" or
    "LABEL:done": the step waits for the first such moment. `at_s` is the intended begin in an open loop; None means
    as soon as the client is free, plus `pause_s`. `fault` marks a command that is itself an injury.
    `own_thread` runs the call in a thread that ends with it. The runner adds a nonce to `args`, unless
    `verbatim`: then the arguments go out untouched.
    """

    command: str
    args: dict[str, Any] = {}
    session: str | None = None
    timeout_s: float | None = None
    checkout_timeout_s: float | None = None
    label: str = ""
    after: str = ""
    at_s: float | None = None
    pause_s: float = 0.0
    fault: FaultKind | None = None
    own_thread: bool = False
    verbatim: bool = False


Plan = tuple[tuple[Step, ...], ...]
"""One tuple of steps for each client."""

Workload = Callable[[random.Random, Size], Plan]


def steady(command: str, args: dict[str, Any] | None = None, *, calls: int, **fields: Any) -> Workload:  # noqa: ANN401
    """Every client makes `calls` equal calls, one after another; `fields` are further fields of Step."""

    def plan(_: random.Random, size: Size) -> Plan:
        step = Step(command=command, args=args or {}, **fields)
        return ((step,) * size.count(calls),) * size.clients

    return plan

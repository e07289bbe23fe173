"""Workloads: the calls that each client of a run makes, decided before the run from its seed.

Pure: the same seed and size give the same steps. Times are relative to the run's begin.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import msgspec

from poolproof.harness.model.fault import FaultKind


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """The size of a run: worker processes, client threads, and `scale`, a factor on the usual number of calls."""

    workers: int = 4
    clients: int = 8
    scale: float = 1.0

    def count(self, usual: int) -> int:
        """Return `usual` calls times the scale; at least 1."""
        return max(1, round(usual * self.scale))


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One call to make.

    `label` names the step for faults, for `after` and for checkers; labels may repeat. `after` is "LABEL:sent" or
    "LABEL:done": the step waits for the first such moment. `at_s` is the intended begin in an open loop; None means
    as soon as the client is free, plus `pause_s`. `fault` marks a command that is itself a fault.
    `own_thread` runs the call in a new thread that ends with the call. A face whose calls can be cancelled cancels the
    call after `cancel_after_s` seconds; with `cancel_at_end`, at the next end of another call after that, before the
    cancelled call can notice a worker that it has got in this way. The runner adds a nonce to `args` unless
    `verbatim` is true: then the arguments are sent unchanged. It also adds the argument `upload` with `upload_bytes`
    bytes, if there are any (`poolproof.harness.model.binary`).
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
    cancel_after_s: float | None = None
    cancel_at_end: bool = False
    verbatim: bool = False
    upload_bytes: int = 0


Plan = tuple[tuple[Step, ...], ...]
"""The steps of a run: one tuple of steps for each client."""

Workload = Callable[[random.Random, Size], Plan]


def steady(command: str, args: dict[str, Any] | None = None, *, calls: int, **fields: Any) -> Workload:  # noqa: ANN401
    """Make a workload in which every client makes `calls` equal calls in turn; `fields` are further fields of Step."""

    def plan(_: random.Random, size: Size) -> Plan:
        step = Step(command=command, args=args or {}, **fields)
        return ((step,) * size.count(calls),) * size.clients

    return plan

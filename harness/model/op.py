"""One operation of a run, as its client saw it.

Pure data. All times are time.monotonic_ns of one machine.
"""

from __future__ import annotations

from contextvars import ContextVar
from enum import StrEnum
from typing import Any

import msgspec

NONCE: ContextVar[str | None] = ContextVar("poolproof_nonce", default=None)
"""The nonce of the operation that runs in this context, for a pool that writes its own journals."""

RESERVED = "~"
"""How the labels of the calls begin that the harness makes to probe a pool. No step of a scenario has such a label."""


class OpType(StrEnum):
    """How an operation ended. INFO: the operation may have happened, or nothing is known about it."""

    OK = "ok"
    FAIL = "fail"
    INFO = "info"


class Op(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One call of one client, from its intended begin to its end.

    `outcome` is one of poolproof.bridge.OUTCOMES, or "pending" if the run ended first. `sent` is no, maybe or yes.
    `call`, `worker` and `pid` are the pool's own numbers for the call; None if no worker was assigned or the pool
    reports none.
    """

    index: int
    client: int
    command: str
    args: dict[str, Any]
    nonce: str
    label: str = ""
    session: str | None = None
    timeout_s: float | None = None
    checkout_timeout_s: float | None = None
    intended_ns: int
    invoked_ns: int
    checked_out_ns: int | None = None
    sent_ns: int | None = None
    received_ns: int | None = None
    completed_ns: int | None = None
    type: OpType = OpType.INFO
    outcome: str = "pending"
    sent: str = "maybe"
    value: Any = None
    error: str = ""
    completions: int = 0
    call: int | None = None
    worker: int | None = None
    pid: int | None = None

    @property
    def probes(self) -> bool:
        """Whether the harness made the call after a run's own, in as many rounds as the machine needed."""
        return self.label.startswith(RESERVED)

    @property
    def response_s(self) -> float | None:
        """Seconds from the intended begin to the end, waiting included. None while pending."""
        return None if self.completed_ns is None else (self.completed_ns - self.intended_ns) / 1e9

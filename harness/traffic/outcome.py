"""How a replayed call ended. Pure."""

from __future__ import annotations

from typing import Any

import msgspec


class Answer(msgspec.Struct, frozen=True):
    """The outcome of a call. `late_s` is how long after its time, or in a session after its predecessor, it began."""

    outcome: str
    value: Any
    error: str
    sent: str
    late_s: float
    took_s: float

"""How a replayed call ended. Pure."""

from __future__ import annotations

from typing import Any

import msgspec


class Answer(msgspec.Struct, frozen=True):
    """The outcome of a call. `late_s` is how many seconds late it began.

    A call is due at its recorded time, or at the end of the call before it in the same session if that is later.
    """

    outcome: str
    value: Any
    error: str
    sent: str
    late_s: float
    took_s: float

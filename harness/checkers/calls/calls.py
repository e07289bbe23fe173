"""The calls of sessions, grouped by session: the input of the checkers that judge a session's state.

Pure. Only the calls of one session are held as objects at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby, starmap
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from poolproof.harness.history.columns import order_by
from poolproof.harness.history.history import History
from poolproof.harness.model.op import OpType


class SessionCall(msgspec.Struct, frozen=True, gc=False):
    """The fields of an operation that show its session's state; see Op."""

    session: str
    index: int
    command: str
    args: dict[str, Any]
    nonce: str
    invoked_ns: int
    completed_ns: int | None
    type: OpType
    outcome: str
    value: Any

    @property
    def key(self) -> str:
        """The key that the call reads or writes."""
        return str(self.args.get("key", ""))


def calls_by_session(history: History, chosen: NDArray[np.bool_]) -> Iterator[tuple[str, list[SessionCall]]]:
    """Yield each session and its calls among the `chosen` operations, in order of their begin."""
    ops = history.ops
    rows = np.flatnonzero(chosen & ~ops.session.are(None))
    rows = rows[order_by(ops.session.codes[rows], ops.invoked_ns[rows])]
    calls = starmap(SessionCall, ops.rows(*SessionCall.__struct_fields__, at=rows))
    for session, of_session in groupby(calls, attrgetter("session")):
        yield session, list(of_session)

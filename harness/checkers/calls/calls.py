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


def expired_sessions(history: History) -> frozenset[str]:
    """Return the sessions that may have ended because they were not used: no call was served for `session_ttl_s`.

    The time between the services of two calls is used: it is never shorter than the time in which the pool had no call
    of the session.
    """
    limit_s = history.info.options.get("session_ttl_s")
    if limit_s is None:
        return frozenset()
    ops, served = history.ops, history.serving
    found = set()
    for session in ops.session.counts():
        rows = np.flatnonzero(ops.session.are(session)) if session is not None else ()
        services = served[rows][served[rows] >= 0] if len(rows) else np.empty(0, np.int64)
        if len(services) < 2:
            continue
        began_ns = history.services.start_ns[services]
        order = np.argsort(began_ns)
        ended_ns = np.maximum.accumulate(history.services.end_ns[services][order])
        if (began_ns[order][1:] - ended_ns[:-1]).max() >= limit_s * 1e9:
            found.add(str(session))
    return frozenset(found)


def calls_by_session(history: History, chosen: NDArray[np.bool_]) -> Iterator[tuple[str, list[SessionCall]]]:
    """Yield each session and its calls among the `chosen` operations, in order of their begin."""
    ops = history.ops
    rows = np.flatnonzero(chosen & ~ops.session.are(None))
    rows = rows[order_by(ops.session.codes[rows], ops.invoked_ns[rows])]
    calls = starmap(SessionCall, ops.rows(*SessionCall.__struct_fields__, at=rows))
    for session, of_session in groupby(calls, attrgetter("session")):
        yield session, list(of_session)

"""Checks that a session sees all of its own state and nothing of another session's."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from poolproof.harness.checkers.calls.calls import SessionCall, calls_by_session
from poolproof.harness.history.columns import NONE, order_by
from poolproof.harness.history.equality import same_json
from poolproof.harness.history.history import History, OpType
from poolproof.harness.history.tables import Ops
from poolproof.harness.model.checker import Finding, finding
from poolproof.harness.model.verdict import Verdict

STATE_COMMANDS = frozenset({"put", "get", "append", "list", "delete"})
READ_COMMANDS = frozenset({"get", "list"})


class Sessions(msgspec.Struct, frozen=True, kw_only=True):
    """Every call of a session sees the state that its acknowledged calls have left, and no other state (G17, G18).

    The checker replays each session's key-value calls in their order. A key that an unanswered call may have changed is
    not judged until it is written again; after SessionLost nothing of the session is judged. Sessions whose calls
    overlapped in time have no single order and are left out.
    """

    name: str = "sessions"
    guarantees: tuple[str, ...] = ("G17", "G18")

    def check(self, history: History) -> Finding:
        """Judge the run by the key-value operations of each session."""
        ops = history.ops
        sessions = ops.session.counts()
        sessions.pop(None, None)
        telling = ops.command.are(*STATE_COMMANDS) | ops.outcome.are("SessionLost")
        wrong: list[str] = []
        decided = 0
        for session, calls in calls_by_session(history, telling & ~_overlapping(ops)):
            replay = _Replay(session)
            for call in calls:
                replay.take(call)
            wrong += replay.wrong
            decided += replay.decided
        if wrong:
            return finding(
                self, Verdict.FAIL, f"{len(wrong)} answers do not fit the state of their session", examples=wrong
            )
        if not decided:
            return finding(self, Verdict.UNKNOWN, "no answer showed the state of a session")
        claim = f"{decided} answers of {len(sessions)} sessions fit the state of their own session"
        return finding(self, Verdict.PASS, claim, figures={"decided": decided, "sessions": len(sessions)})


def _overlapping(ops: Ops) -> NDArray[np.bool_]:
    # The calls of the sessions in which one call began before the call before it had ended.
    rows = np.flatnonzero(~ops.session.are(None))
    rows = rows[order_by(ops.session.codes[rows], ops.invoked_ns[rows])]
    session, ended_ns = ops.session.codes[rows], ops.completed_ns[rows]
    overlaps = (ended_ns[:-1] == NONE) | (ops.invoked_ns[rows][1:] < ended_ns[:-1])
    overlaps &= session[1:] == session[:-1]
    return np.isin(ops.session.codes, session[1:][overlaps])


class _Replay:
    """Computes what one session's state must be, call by call."""

    def __init__(self, session: str) -> None:
        self.session = session
        self.values: dict[str, Any] = {}
        self.doubtful: set[str] = set()
        self.all_doubtful = False
        self.wrong: list[str] = []
        self.decided = 0

    def take(self, op: SessionCall) -> None:
        """Judge an answer, and record what the call changed."""
        if op.outcome == "SessionLost":
            self.all_doubtful = True
        if op.command not in STATE_COMMANDS or self.all_doubtful:
            return
        key = op.key
        if op.type is OpType.INFO:
            if op.command not in READ_COMMANDS:
                self.doubtful.add(key)
            return
        if op.type is not OpType.OK:
            return
        if not isinstance(op.value, dict):  # no answer: `own_answer` judges that, and what the call did is unknown
            if op.command not in READ_COMMANDS:
                self.doubtful.add(key)
            return
        match op.command:
            case "put":
                self.values[key] = op.args.get("value")
                self.doubtful.discard(key)
            case "append":
                held = self.values.get(key, [])
                expected = [*(held if isinstance(held, list) else []), op.args.get("value")]
                got = op.value.get("values")
                if key in self.doubtful:
                    self.doubtful.discard(key)
                else:
                    self._compare(op, key, expected, got)
                self.values[key] = got if isinstance(got, list) else expected
            case "delete":
                self.values.pop(key, None)
                self.doubtful.discard(key)
            case "get" if key not in self.doubtful:
                self._compare(op, key, self.values.get(key), op.value.get("value"))
            case "list" if not self.doubtful:
                self._compare(op, "its keys", sorted(self.values), op.value.get("keys"))
            case _:
                pass

    def _compare(self, op: SessionCall, what: str, expected: Any, got: Any) -> None:  # noqa: ANN401 - any JSON
        self.decided += 1
        if not same_json(expected, got):
            self.wrong.append(
                f"session {self.session!r}, call {op.index}: {what} is {str(got)[:80]}, but should be "
                f"{str(expected)[:80]}"
            )

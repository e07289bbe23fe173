"""Checks that a session keeps its state and that no call of it ran twice, by the user's description of the state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from poolproof.harness.checkers.calls.calls import SessionCall, calls_by_session
from poolproof.harness.history.equality import same_json
from poolproof.harness.history.history import History, OpType
from poolproof.harness.model.checker import Finding, finding
from poolproof.harness.model.verdict import Verdict

MOST_PASTS = 64
"""How many possible pasts of one session are followed: a call in doubt doubles them."""
Requests = tuple[dict[str, Any], ...]


class SessionState(msgspec.Struct, frozen=True, kw_only=True):
    """Each answer of a session is the one that follows from the session's earlier requests (G4, G17, G18).

    `expects(requests)` returns the answer to the last of the requests, if all of them ran in this order. A call without
    an answer may have run or not: both are followed. So a session that was lost, mixed with another one, or in which a
    call ran twice has an answer that follows from neither. A session that the pool reports as lost fails too.
    """

    role: str
    expects: Callable[[list[dict[str, Any]]], Any]
    guarantees: tuple[str, ...] = ("G4", "G17", "G18")

    @property
    def name(self) -> str:
        """The checker's name: `state:ROLE`."""
        return f"state:{self.role}"

    def check(self, history: History) -> Finding:
        """Judge the run by the operations of each session with the role's label."""
        wrong: list[str] = []
        decided = sessions = 0
        chosen = history.ops.label.are(self.role)
        for session, calls in calls_by_session(history, chosen):
            sessions += 1
            judged, told = self._follow(session, calls)
            decided += judged
            wrong += told
        if wrong:
            claim = f"{len(wrong)} of {sessions} sessions lost their state, or a call of them did not run exactly once"
            return finding(self, Verdict.FAIL, claim, examples=wrong)
        if not decided:
            return finding(self, Verdict.UNKNOWN, "no answer showed the state of a session")
        claim = f"{decided} answers of {sessions} sessions follow from the earlier requests of their session"
        return finding(self, Verdict.PASS, claim, figures={"decided": decided, "sessions": sessions})

    def _follow(self, session: str, calls: list[SessionCall]) -> tuple[int, list[str]]:
        # How many answers were judged, and what is wrong with the first wrong one.
        pasts: list[Requests] = [()]
        decided = 0
        for call in calls:
            if call.outcome == "SessionLost":
                return decided, [f"session {session!r}: the pool reported at call {call.index} that it was lost"]
            if call.type is OpType.FAIL:
                continue  # the call did not run, or it has failed and changed nothing
            if call.type is OpType.INFO:
                pasts = [*pasts, *((*past, call.args) for past in pasts)]
                if len(pasts) > MOST_PASTS:
                    return decided, []
                continue
            decided += 1
            expected = [self.expects([*past, call.args]) for past in pasts]
            fits = [same_json(msgspec.to_builtins(answer), call.value) for answer in expected]
            if not any(fits):
                return decided, [
                    f"session {session!r}, call {call.index}, request {str(call.args)[:80]} after "
                    f"{len(pasts[0])} requests: the answer is {str(call.value)[:120]}, but should be "
                    f"{str(expected[0])[:120]}"
                ]
            pasts = [(*past, call.args) for past, fit in zip(pasts, fits, strict=True) if fit]
        if calls and calls[-1].type is not OpType.OK:
            return decided, [f"session {session!r}: its last call {calls[-1].index} had no answer: {calls[-1].outcome}"]
        return decided, []

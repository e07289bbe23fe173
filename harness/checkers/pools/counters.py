"""Checks that the pool counts each session's calls as their callers do."""

from __future__ import annotations

import msgspec

from poolproof.harness.history.history import History
from poolproof.harness.model.checker import Finding, finding
from poolproof.harness.model.op import OpType
from poolproof.harness.model.verdict import Verdict


class SessionCounters(msgspec.Struct, frozen=True, kw_only=True):
    """Each session's counter equals the number of its answered calls, whichever threads made the calls (G19).

    An error of the command is an answer. A call in doubt may count or not. Sessions that were cleaned up are left out,
    since the moment at which their counters began anew is unknown. Not for pools whose sessions expire.
    """

    name: str = "session_counters"
    guarantees: tuple[str, ...] = ("G19",)

    def check(self, history: History) -> Finding:
        """Judge the run by the pool's session table after the last call and the operations."""
        if history.sessions is None:
            return finding(self, Verdict.UNKNOWN, "the pool's sessions were not recorded")
        ops = history.ops
        answered = ops.type.are(OpType.OK) | ops.outcome.are("CommandError")
        surely = ops.session[answered].counts()
        doubtful = ops.session[ops.type.are(OpType.INFO) & ~answered].counts()
        ended = ops.session[ops.command.are("cleanup_session")].counts()
        told = {status.session_id: status.operations for status in history.sessions}
        wrong: list[str] = []
        decided = 0
        for session in sorted((surely.keys() | doubtful.keys() | told.keys()) - ended.keys() - {None}):
            least, most = surely[session], surely[session] + doubtful[session]
            decided += least > 0
            if not least <= told.get(session, 0) <= most:
                calls = str(least) if least == most else f"{least} to {most}"
                counted = f"counted {told[session]} calls" if session in told else "does not know the session"
                wrong.append(f"session {session!r}: the pool {counted}; its callers saw {calls} answered calls")
        figures: dict[str, float | int | str] = {"sessions": decided, "calls_in_doubt": sum(doubtful.values())}
        if wrong:
            claim = f"{len(wrong)} sessions have a call counter that does not agree with what the callers saw"
            return finding(self, Verdict.FAIL, claim, figures=figures, examples=wrong)
        if not decided:
            return finding(self, Verdict.UNKNOWN, "no session that still exists had an answered call", figures=figures)
        claim = f"the call counters of {decided} sessions agree with what the callers saw"
        return finding(self, Verdict.PASS, claim, figures=figures)

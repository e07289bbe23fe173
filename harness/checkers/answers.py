"""Whether every answer belongs to its own request."""

from __future__ import annotations

from collections import defaultdict

import msgspec

from harness.checker import Finding, finding
from harness.equality import same_json
from harness.history import History, Op, OpType
from harness.verdict import Verdict


class OwnAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Every answer belongs to its own request, and an echo is exactly what was sent (G1).

    Decided from the nonce that every request carries, from the echoes' values, and from the workers' journals.
    """

    name: str = "own_answer"
    guarantees: tuple[str, ...] = ("G1",)

    def check(self, history: History) -> Finding:
        """Decide from the operations with an answer."""
        decided = 0
        wrong: list[str] = []
        for op in history.ops:
            if op.type is not OpType.OK:
                continue
            verdict = _belongs(op)
            decided += verdict is not None
            if verdict is False:
                wrong.append(f"call {op.index} ({op.command}, nonce {op.nonce}) got {str(op.value)[:120]}")
        nonces: dict[int, dict[int, str | int]] = defaultdict(dict)
        for service in history.services:
            if service.nonce is not None:
                nonces[service.pid][service.request_id] = service.nonce
        for op in history.ops:
            served = nonces[op.pid].get(op.call) if op.call is not None and op.pid in nonces else None
            if served is not None and served != op.nonce:
                wrong.append(f"call {op.index} has the nonce {op.nonce}; its worker {op.pid} served {served}")
        if wrong:
            return finding(self, Verdict.FAIL, f"{len(wrong)} answers were not their request's own", examples=wrong)
        if not decided:
            return finding(self, Verdict.UNKNOWN, "no answer could be matched with its request")
        return finding(
            self, Verdict.PASS, f"each of {decided} answers belongs to its request", figures={"decided": decided}
        )


def _belongs(op: Op) -> bool | None:
    # None: nothing in the answer tells.
    if op.command == "echo":
        sent = op.args if op.session is None else {**op.args, "session_id": op.session}
        return same_json(op.value, sent.get("value", sent))
    if isinstance(op.value, dict) and "nonce" in op.args and "nonce" in op.value:  # a foreign worker may give none back
        return bool(op.value["nonce"] == op.nonce)
    return None

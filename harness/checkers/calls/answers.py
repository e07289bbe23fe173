"""Checks that every answer belongs to its own request."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable
from typing import Any

import msgspec
import numpy as np

from poolproof.harness.history.equality import same_json
from poolproof.harness.history.history import History, OpType
from poolproof.harness.model.binary import pattern
from poolproof.harness.model.checker import Finding, finding
from poolproof.harness.model.verdict import Verdict

ANSWER = ("command", "nonce", "session", "args", "value")


class OwnAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Every answer belongs to its own request; echoes equal what was sent; parts are complete and in order (G1).

    The checker decides from the nonce of each request, from the values of echoes, and from the workers' journals.
    """

    name: str = "own_answer"
    guarantees: tuple[str, ...] = ("G1",)

    def check(self, history: History) -> Finding:
        """Judge the run by the operations that have an answer."""
        wrong: list[str] = []
        ops, services = history.ops, history.services
        answered = ops.type.are(OpType.OK)
        # Most echoes equal their request byte for byte; only the others are decoded.
        plain = answered & ops.command.are("echo") & ops.session.are(None)
        rows = np.flatnonzero(plain)
        plain[rows] = ops.args[rows].same_text(ops.value[rows], without=b'"value"')
        decided = int(plain.sum())
        named = _naming_commands(ops.rows("command", "args", "value", at=answered & ~plain))
        for index, *answer in ops.rows("index", *ANSWER, at=answered & ~plain):
            verdict = _belongs(*answer)
            if verdict is None and answer[0] in named and answer[3].get("nonce") == answer[1]:
                verdict = False  # other answers to this command have their request's nonce
            decided += verdict is not None
            if verdict is False:
                command, nonce, _, _, value = answer
                wrong.append(
                    f"call {index} ({command}, nonce {nonce}) was answered with {str(value)[:120]}, "
                    "which does not belong to its request"
                )
        if len(services):
            known = (history.serving >= 0) & ~services.nonce.are(None)[history.serving]
            other = known & (services.nonce.codes_in(ops.nonce)[history.serving] != ops.nonce.codes)
            for op, served in zip(ops.take(other), services.take(history.serving[other]), strict=True):
                wrong.append(
                    f"call {op.index} carried the nonce {op.nonce}, but the journal of its worker "
                    f"(process {op.pid}) shows the nonce {served.nonce}"
                )
        if wrong:
            return finding(
                self, Verdict.FAIL, f"{len(wrong)} answers do not belong to the request of their call", examples=wrong
            )
        if not decided:
            error = next(filter(None, ops.error.counts()), "")
            told = f"; the first error: {error[:200]}" if error else ""
            return finding(self, Verdict.UNKNOWN, f"no answer shows which request it belongs to{told}")
        return finding(
            self, Verdict.PASS, f"each of {decided} answers belongs to its request", figures={"decided": decided}
        )


def _naming_commands(rows: Iterable[tuple[str, dict[str, Any], Any]]) -> set[str]:
    # The commands to which some answer has its request's nonce, so that every answer owes it.
    return {
        command
        for command, args, value in rows
        if isinstance(value, dict) and "nonce" in args and value.get("nonce") == args["nonce"]
    }


def _belongs(command: str, nonce: str, session: str | None, args: dict[str, Any], value: Any) -> bool | None:  # noqa: ANN401
    # Whether the answer belongs to the request; None if nothing in the answer shows it.
    if command == "echo":
        sent = args if session is None else {**args, "session_id": session}
        return same_json(value, sent.get("value", sent))
    if command == "parts":
        count, padding = args.get("count"), "x" * int(args.get("bytes", 0))
        whole = isinstance(value, list) and all(isinstance(part, dict) for part in value)
        return whole and [(part.get("index"), part.get("padding")) for part in value] == [
            (index, padding) for index in range(int(count or 0))
        ]
    if command == "blob" and isinstance(value, dict) and value.get("blob") != "x" * int(args.get("bytes", 0)):
        return False
    if command == "binary" and isinstance(value, dict):
        data = pattern(int(args.get("bytes", 0)), int(args.get("seed", 0)))
        upload = base64.b64decode(args.get("upload", ""))  # a record has bytes in base64
        if (value.get("data"), value.get("crc")) != (base64.b64encode(data).decode(), zlib.crc32(upload)):
            return False
    if isinstance(value, dict) and "nonce" in args and "nonce" in value:  # a foreign worker may return no nonce
        return bool(value["nonce"] == nonce)
    return None

"""Compares what v1 answered with what v2 made of a copy of the call, by the rules of the harness's comparison.

Pure. The hooks compare, ignore and clean of `poolproof.harness.model.intended.Comparing` get whole operations here too.
"""

from __future__ import annotations

from typing import Any

import msgspec

from poolproof.bridge import PoolError, Sent
from poolproof.harness.compare.differential import compare_ops
from poolproof.harness.model.intended import Comparing
from poolproof.harness.model.op import Op, OpType

MOST_NODES = 256
ANSWERS = ("result", "CommandError")


class TooLarge(Exception):
    """The value has more parts than the caller of a shadowed call is to wait for."""


class Answer(msgspec.Struct, frozen=True):
    """How a call ended: one of poolproof.bridge.OUTCOMES, with its value or its error's text, and whether it was
    sent."""

    outcome: str
    value: Any = None
    error: str = ""
    sent: str = "yes"

    @classmethod
    def of_error(cls, error: BaseException) -> Answer:
        """From what a pool raised. What is no error of a pool may have been sent."""
        sent = error.sent.value if isinstance(error, PoolError) else Sent.MAYBE.value
        return cls(type(error).__name__, error=str(error), sent=sent)


class Compared(msgspec.Struct, frozen=True):
    """What came of one copy: ignored by a hook, or compared; `mismatch` says what differs, empty if nothing does."""

    ignored: bool = False
    mismatch: str = ""


def compare_answers(command: str, args: dict[str, Any], one: Answer, other: Answer, comparing: Comparing) -> Compared:
    """Compare v1's answer with v2's.

    An error of the pool v2 itself is no answer: it counts as a failure of v2, and not as a mismatch too. A hook that
    raises is a mismatch that says so: what cannot be compared is never taken to be the same.
    """
    before, after = _as_op(command, args, one), _as_op(command, args, other)
    try:
        if comparing.ignore is not None and comparing.ignore(before, after):
            return Compared(ignored=True)
        difference = compare_ops(before, after, comparing)
    except Exception as error:
        return Compared(mismatch=f"{command}: a comparing hook broke: {type(error).__name__}: {error}")
    if difference is None or other.outcome not in ANSWERS:
        return Compared()
    return Compared(mismatch=difference.text.replace(f"operation 0 ({command})", command, 1))


def copy_value(value: Any, most_nodes: int = MOST_NODES) -> Any:  # noqa: ANN401 - any JSON value
    """A copy that no later change reaches. Raises TooLarge beyond so many parts; the length of texts does not count."""
    left = [most_nodes]
    return _copy(value, left)


def _copy(value: Any, left: list[int]) -> Any:  # noqa: ANN401
    left[0] -= 1
    if left[0] < 0:
        raise TooLarge
    if isinstance(value, dict):
        if len(value) > left[0]:
            raise TooLarge
        return {key: _copy(inner, left) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        if len(value) > left[0]:
            raise TooLarge
        return [_copy(inner, left) for inner in value]
    return value


def _as_op(command: str, args: dict[str, Any], answer: Answer) -> Op:
    kinds = dict(zip(ANSWERS, (OpType.OK, OpType.FAIL), strict=True))
    unsure = OpType.FAIL if answer.sent == Sent.NO else OpType.INFO
    return Op(
        index=0,
        client=0,
        command=command,
        args=args,
        nonce=str(args.get("nonce", "")),
        intended_ns=0,
        invoked_ns=0,
        completed_ns=0,
        type=kinds.get(answer.outcome, unsure),
        outcome=answer.outcome,
        sent=answer.sent,
        value=answer.value,
        error=answer.error,
        completions=1,
    )

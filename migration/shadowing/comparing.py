"""Compares v1's response to a call with v2's response to its copy, by the rules of the harness's comparison.

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
    """The value has too many nodes; copying it would delay the caller of a shadowed call."""


class Answer(msgspec.Struct, frozen=True):
    """How a call ended: one of poolproof.bridge.OUTCOMES, with the value or the error text, and whether it was sent."""

    outcome: str
    value: Any = None
    error: str = ""
    sent: str = "yes"

    @classmethod
    def of_error(cls, error: BaseException) -> Answer:
        """Build from an exception that a pool raised. An exception that is no PoolError counts as possibly sent."""
        sent = error.sent.value if isinstance(error, PoolError) else Sent.MAYBE.value
        return cls(type(error).__name__, error=str(error), sent=sent)


class Compared(msgspec.Struct, frozen=True):
    """The result for one copy: ignored by a hook, or compared; `mismatch` says what differs, empty if nothing does."""

    ignored: bool = False
    mismatch: str = ""


def compare_answers(command: str, args: dict[str, Any], one: Answer, other: Answer, comparing: Comparing) -> Compared:
    """Compare v1's response with v2's.

    An error of the pool v2 itself is no response: it counts as a failure of v2, not as a mismatch. If a hook raises,
    the result is a mismatch that says so: responses that cannot be compared never count as equal.
    """
    before, after = _as_op(command, args, one), _as_op(command, args, other)
    try:
        if comparing.ignore is not None and comparing.ignore(before, after):
            return Compared(ignored=True)
        difference = compare_ops(before, after, comparing)
    except Exception as error:
        return Compared(mismatch=f"{command}: a comparing hook raised an error: {type(error).__name__}: {error}")
    if difference is None or other.outcome not in ANSWERS:
        return Compared()
    return Compared(mismatch=difference.text.replace(f"operation 0 ({command})", command, 1))


def copy_value(value: Any, most_nodes: int = MOST_NODES) -> Any:  # noqa: ANN401 - any JSON value
    """Return a deep copy. Raises TooLarge above `most_nodes` nodes; the length of texts is not limited."""
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

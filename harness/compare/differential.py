"""Compares the answers of two pools to the same seeded plan, operation by operation: value, error, or in doubt.

Pure. It finds differences and names their kind; the judge decides whether they are intended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from poolproof.harness.history.equality import VOLATILE, same_json, without
from poolproof.harness.model.comparing.comparers import find_unequal, leave_out, short
from poolproof.harness.model.intended import Comparing, DifferenceKind
from poolproof.harness.model.op import Op, OpType

if TYPE_CHECKING:  # so that an application that migrates does not import the history
    from poolproof.harness.history.history import History

VERBATIM_COMMANDS = frozenset({"echo"})
"""The answers of these commands equal the request, so no field of them is volatile."""

USUAL = Comparing()


class OpDifference(msgspec.Struct, frozen=True, kw_only=True):
    """One operation in which the pools differ, with the label of its step."""

    index: int
    command: str
    label: str = ""
    kind: DifferenceKind
    text: str


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """The result of comparing the answers of two runs.

    `ignored` counts operations that the scenario's own hook left out; `undecided` has a sentence for each pair whose
    hook raised an error.
    """

    compared: int = 0
    differences: tuple[OpDifference, ...] = ()
    ignored: int = 0
    undecided: tuple[str, ...] = ()


def compare_answers(baseline: History, candidate: History, comparing: Comparing = USUAL) -> Answers:
    """Compare the answers of both pools, except to the calls that probe a pool: a busy machine gets more of those.

    Answers are results and command errors; an operation that one pool did not answer is compared by its outcome. If one
    pool cannot know whether the operation was executed, and the other pool has another outcome, the difference is
    INDETERMINATE.
    """
    others = {op.index: op for op in candidate.ops if not op.probes}
    compared = ignored = 0
    found: list[OpDifference] = []
    undecided: list[str] = []
    for op in baseline.ops:
        if op.probes:
            continue
        other = others.pop(op.index, None)
        if other is None or other.command != op.command:
            found.append(_missing(op))
            continue
        try:
            if comparing.ignore is not None and comparing.ignore(op, other):
                ignored += 1
                continue
            difference = compare_ops(op, other, comparing)
        except Exception as error:
            undecided.append(
                f"{_name(op)}: a comparing hook of the scenario raised an error: {type(error).__name__}: {error}"
            )
            continue
        compared += 1
        if difference is not None:
            found.append(difference)
    found += [_missing(op) for op in others.values()]
    return Answers(compared=compared, differences=tuple(found), ignored=ignored, undecided=tuple(undecided))


def compare_ops(one: Op, other: Op, comparing: Comparing = USUAL) -> OpDifference | None:
    """Return how two operations of the same command differ. Errors of hooks are raised; `ignore` is not called."""
    if comparing.compare is not None and comparing.compare(one, other):
        return None
    if one.outcome != other.outcome:
        unknown = OpType.INFO in (one.type, other.type)
        kind = DifferenceKind.INDETERMINATE if unknown else DifferenceKind.ERROR_CLASS
        return _differ(one, kind, f"the outcome {one.outcome} became {other.outcome}")
    before, after = answer_of(one, comparing), answer_of(other, comparing)
    told = f"{short(before)} became {short(after)}"
    if comparing.compare is None:
        if same_json(before, after):
            return None
        if comparing.comparers and not (told := find_unequal(before, after, comparing.comparers)):
            return None
    if one.outcome == "result":
        return _differ(one, DifferenceKind.VALUE, told)
    return _differ(one, DifferenceKind.ERROR_TEXT, f"the error {told}")


def answer_of(op: Op, comparing: Comparing) -> object:
    """Return the part of an operation to compare, without what is ignored."""
    return leave_out(_answer(op, comparing), comparing.comparers)


def _answer(op: Op, comparing: Comparing) -> object:
    # The text of a pool's own errors names pids and times, so it is left out.
    if comparing.clean is not None:
        return comparing.clean(op)
    if op.outcome == "result":
        return op.value if op.command in VERBATIM_COMMANDS else without(op.value, VOLATILE)
    return op.error if op.outcome == "CommandError" else None


def _missing(op: Op) -> OpDifference:
    return _differ(op, DifferenceKind.MISSING, "", told=f"{_name(op)} was made on one of the two pools only")


def _differ(op: Op, kind: DifferenceKind, what: str, *, told: str = "") -> OpDifference:
    text = told or f"{_name(op)}: {what}"
    return OpDifference(index=op.index, command=op.command, label=op.label, kind=kind, text=text)


def _name(op: Op) -> str:
    return f"operation {op.index} ({op.command})"

"""Compares two replays of a recording with each other and with the recorded answers.

A call that both pools answer alike is equal. If they differ and the baseline gives the recorded answer, the difference
is the candidate's. If the baseline gives another answer than the recorded one too, the answer varies by itself: that is
noise, and leaves the comparison undecided.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from poolproof.bridge.recording import Call
from poolproof.harness.compare.differential import compare_ops
from poolproof.harness.history.stats import quantile
from poolproof.harness.model.intended import Comparing
from poolproof.harness.model.op import Op, OpType
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.traffic.outcome import Answer

MOST_TOLD = 10


class TrafficComparison(msgspec.Struct, frozen=True, kw_only=True):
    """The result: the number of equal calls, the differences, the noise, and how late the replays were, in seconds.

    `changed` counts the calls whose answers are equal on both pools but differ from the recorded answer.
    """

    calls: int
    equal: int
    changed: int
    differences: tuple[str, ...]
    noise: tuple[str, ...]
    different: int
    noisy: int
    late_p99_s: tuple[float, float]
    damage: str = ""

    @property
    def verdict(self) -> Verdict:
        """FAIL for a difference of the candidate; UNKNOWN for noise, a damaged recording or no calls."""
        if self.different:
            return Verdict.FAIL
        return Verdict.UNKNOWN if self.noisy or self.damage or not self.calls else Verdict.PASS


def compare_traffic(
    calls: Sequence[Call], one: Sequence[Answer], other: Sequence[Answer], comparing: Comparing, damage: str = ""
) -> TrafficComparison:
    """Compare the replays, which have one answer for each call."""
    differences: list[str] = []
    noise: list[str] = []
    changed = different = noisy = 0
    for number, (call, before, after) in enumerate(zip(calls, one, other, strict=True)):
        recorded = Answer(call.outcome, call.value, call.error, call.sent, 0.0, 0.0)
        told = _differ(number, call, before, after, comparing)
        varies = _differ(number, call, recorded, before, comparing)
        if not told:
            changed += bool(varies)
        elif varies:
            noisy += 1
            noise.append(varies)
        else:
            different += 1
            differences.append(told)
    return TrafficComparison(
        calls=len(calls),
        equal=len(calls) - different - noisy,
        changed=changed,
        differences=tuple(differences[:MOST_TOLD]),
        noise=tuple(noise[:MOST_TOLD]),
        different=different,
        noisy=noisy,
        late_p99_s=(_late(one), _late(other)),
        damage=damage,
    )


def _late(found: Sequence[Answer]) -> float:
    return quantile([max(0.0, answer.late_s) for answer in found], 0.99) if found else 0.0


def _differ(number: int, call: Call, one: Answer, other: Answer, comparing: Comparing) -> str:
    before, after = _as_op(number, call, one), _as_op(number, call, other)
    try:
        if comparing.ignore is not None and comparing.ignore(before, after):
            return ""
        found = compare_ops(before, after, comparing)
    except Exception as error:
        return f"operation {number} ({call.command}): a comparing hook raised {type(error).__name__}: {error}"
    return "" if found is None else found.text


def _as_op(number: int, call: Call, answer: Answer) -> Op:
    kinds = {"result": OpType.OK, "CommandError": OpType.FAIL}
    args = call.args if isinstance(call.args, dict) else {}
    return Op(
        index=number,
        client=call.client,
        command=call.command,
        args=args,
        nonce=str(args.get("nonce", "")),
        intended_ns=call.at_ns,
        invoked_ns=call.at_ns,
        completed_ns=call.at_ns + call.took_ns,
        type=kinds.get(answer.outcome, OpType.FAIL if answer.sent == "no" else OpType.INFO),
        outcome=answer.outcome,
        sent=answer.sent,
        value=answer.value,
        error=answer.error,
        completions=1,
    )

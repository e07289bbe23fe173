"""Compares a replay of a recording on the candidate with two replays on the baseline and with the recorded answers.

The two replays of the baseline show which parts of its answers vary by themselves, for each command and JSON path. A
difference of the candidate counts if it exceeds that. If only the recorded answers differ from the baseline's at that
place, the call is undecided: the recording may be old, or the answer varies too seldom for two replays to show it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from poolproof.bridge.recording import Call
from poolproof.harness.compare.differential import answer_of
from poolproof.harness.history.stats import quantile
from poolproof.harness.model.comparing.noise import (
    FREE,
    Excess,
    Kind,
    Noise,
    Seen,
    find_excess,
    leaves,
    observe,
    sign_test,
)
from poolproof.harness.model.intended import Comparing
from poolproof.harness.model.op import Op, OpType
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.traffic.outcome import Answer

MOST_TOLD = 10
FALSE_ALARM = 1e-4
"""The probability of a false finding by statistics, over all commands and paths of one comparison."""
ANSWERED = ("result", "CommandError")
WHOLE = frozenset({Kind.VALUE, Kind.TYPE})
"""If an object or a list varies in one of these ways, nothing in it is constant."""
BY_HOOK = Seen("$", Kind.VALUE)
"""A difference that only the hook `compare` sees."""


class PathCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What varies at a path of the answers of a command: the ways, and the number of calls.

    `baseline` counts the calls whose two baseline answers differ here, `candidate` those whose candidate's answer
    differs from the baseline's first one, and `different` those in which this exceeds the noise.
    """

    command: str
    outcome: str
    path: str
    kinds: tuple[Kind, ...]
    baseline: int
    candidate: int
    different: int


class TrafficComparison(msgspec.Struct, frozen=True, kw_only=True):
    """The result: numbers of calls, sentences, and how late the replays were, in seconds (baseline and candidate).

    `equal` calls are alike in all that is compared, `varied` ones differ within the noise, `different` ones beyond it,
    and `undecided` ones where only the recording varies. `changed` counts the equal calls whose recorded answer is
    another one. `more_errors` tells commands that fail more often than on the baseline, `unusual` paths at which the
    candidate is outside of what the baseline showed, and `inconclusive` names commands of which everything is noise.
    """

    calls: int
    equal: int
    changed: int
    varied: int
    different: int
    undecided: int
    differences: tuple[str, ...]
    doubts: tuple[str, ...]
    more_errors: tuple[str, ...]
    unusual: tuple[str, ...]
    inconclusive: tuple[str, ...]
    paths: tuple[PathCounts, ...]
    late_p99_s: tuple[float, float]
    damage: str = ""

    @property
    def verdict(self) -> Verdict:
        """FAIL for a difference of the candidate; UNKNOWN for whatever leaves it open, or no calls."""
        if self.different or self.more_errors:
            return Verdict.FAIL
        leaves_open = self.undecided or self.unusual or self.inconclusive or self.damage or not self.calls
        return Verdict.UNKNOWN if leaves_open else Verdict.PASS


class _Group:
    # The answers of one command that have the same outcome. `noise` is the baseline's own; `wide` knows the recorded
    # answers too, and is made when it is needed.
    def __init__(self) -> None:
        self.noise = Noise()
        self.wide: Noise | None = None
        self.leaves: set[str] = set()
        self.candidate: defaultdict[str, set[int]] = defaultdict(set)
        self.far: Counter[str] = Counter()
        self.excess: Counter[str] = Counter()
        self.complete: set[int] = set()


class _Outcomes:
    # The outcomes of one command that differ within a call, without and with the recording; and whose errors are alone.
    def __init__(self) -> None:
        self.own: set[str] = set()
        self.wide: set[str] = set()
        self.more = self.less = 0


def compare_traffic(
    calls: Sequence[Call],
    one: Sequence[Answer],
    again: Sequence[Answer],
    other: Sequence[Answer],
    comparing: Comparing,
    damage: str = "",
) -> TrafficComparison:
    """Compare the replays, each of which has one answer for each call: twice the baseline, then the candidate."""
    return _Comparison(calls, comparing).compare(one, again, other, damage)


class _Comparison:
    def __init__(self, calls: Sequence[Call], comparing: Comparing) -> None:
        self._calls = calls
        self._comparing = comparing
        self._groups: defaultdict[tuple[str, str], _Group] = defaultdict(_Group)
        self._outcomes: defaultdict[str, _Outcomes] = defaultdict(_Outcomes)
        self._samples: list[tuple[Op, Op, Op, Op]] = []
        self._answers: dict[int, object] = {}
        self._numbers: Counter[str] = Counter()
        self._differences: list[str] = []
        self._doubts: list[str] = []

    def compare(
        self, one: Sequence[Answer], again: Sequence[Answer], other: Sequence[Answer], damage: str
    ) -> TrafficComparison:
        recorded = (Answer(call.outcome, call.value, call.error, call.sent, 0.0, 0.0) for call in self._calls)
        for number, answers in enumerate(zip(one, again, recorded, other, strict=True)):
            first, second, third, last = (_as_op(number, self._calls[number], answer) for answer in answers)
            self._samples.append((first, second, third, last))
        for sample in self._samples:
            self._learn(*sample[:3])
        for group in self._groups.values():
            group.noise.settle()
        for sample in self._samples:
            self._numbers[self._judge(*sample)] += 1
        more_errors, unusual = self._count()
        numbers = {name: self._numbers[name] for name in ("changed", "varied", "different", "undecided")}
        return TrafficComparison(
            calls=len(self._samples),
            equal=self._numbers["equal"] + self._numbers["changed"],
            **numbers,
            differences=tuple(self._differences[:MOST_TOLD]),
            doubts=tuple(self._doubts[:MOST_TOLD]),
            more_errors=tuple(more_errors),
            unusual=tuple(unusual),
            inconclusive=tuple(self._find_inconclusive()),
            paths=tuple(self._paths()),
            late_p99_s=(_late([*one, *again]), _late(other)),
            damage=damage,
        )

    def _learn(self, first: Op, second: Op, recorded: Op) -> None:
        outcomes = self._outcomes[first.command]
        group = self._groups[first.command, first.outcome]
        if len(found := {first.outcome, second.outcome, recorded.outcome}) > 1:
            outcomes.wide |= found
        try:
            seen = self._observe(first, second)
            if seen is None:
                outcomes.own |= {first.outcome, second.outcome}
            else:
                group.noise.add(first.index, seen)
            if first.outcome in ANSWERED:
                group.leaves.update(leaves(self._answer(first)))
        except Exception:
            return  # a hook raised; it raises again when the call is judged, and then it is told

    def _judge(self, first: Op, second: Op, recorded: Op, last: Op) -> str:
        outcomes = self._outcomes[first.command]
        failed, failed_again = last.outcome != "result", second.outcome != "result"
        outcomes.more += failed and not failed_again
        outcomes.less += failed_again and not failed
        try:
            seen = self._observe(first, last)
            if first.outcome == second.outcome == last.outcome:
                self._groups[first.command, first.outcome].complete.add(first.index)
                if seen:
                    return self._judge_values(first, last, seen)
            if seen == []:
                return "equal" if self._observe(recorded, first) == [] else "changed"
            if first.outcome != last.outcome and not {first.outcome, last.outcome} <= outcomes.own:
                known = {first.outcome, last.outcome} <= outcomes.wide
                text = f"the outcome {first.outcome} became {last.outcome}"
                return self._note("undecided" if known else "different", first, [Excess("outcome", text)])
            # An error that comes and goes has no answer of the same call to be compared with.
            base = next((op for op in (first, second, recorded) if op.outcome == last.outcome == "result"), None)
            return "varied" if base is None else self._judge_values(base, last, self._observe(base, last) or ())
        except Exception as error:
            text = f"a comparing hook raised {type(error).__name__}: {error}"
            return self._note("undecided", first, [Excess("$", text)])

    def _judge_values(self, base: Op, last: Op, seen: Sequence[Seen]) -> str:
        group = self._groups[base.command, base.outcome]
        far: set[str] = set()
        for one in seen:
            path = group.noise.place(one)
            group.candidate[path].add(base.index)
            noise = group.noise.at(path)
            if noise is not None and one.kind is Kind.NUMBER and noise.is_far(one.other):
                far.add(path)
        group.far.update(far)
        excess = self._find_excess(base, last, seen, group.noise)
        if not excess:
            return "varied"
        if group.wide is None:
            group.wide = self._learn_wide(base.command, base.outcome)
        certain = self._find_excess(base, last, seen, group.wide)
        if not certain:
            return self._note("undecided", base, excess)
        group.excess.update({one.path for one in certain})
        return self._note("different", base, certain)

    def _find_excess(self, base: Op, last: Op, seen: Sequence[Seen], noise: Noise) -> list[Excess]:
        if all(map(noise.explains, seen)):
            return []
        if seen == [BY_HOOK]:
            return [Excess("$", "the answers are not equal by the hook `compare`")]
        return list(find_excess(self._answer(base), self._answer(last), noise, self._comparing.comparers))

    def _learn_wide(self, command: str, outcome: str) -> Noise:
        noise = Noise()
        for first, second, recorded, _last in self._samples:
            if first.command == command:
                for one, other in ((first, second), (first, recorded), (second, recorded)):
                    if one.outcome == other.outcome == outcome:
                        noise.add(first.index, self._observe(one, other) or ())
        noise.settle()
        return noise

    def _note(self, what: str, op: Op, excess: Iterable[Excess]) -> str:
        texts = self._differences if what == "different" else self._doubts
        texts.append(f"operation {op.index} ({op.command}): {'; '.join(one.text for one in excess)}")
        return what

    def _count(self) -> tuple[list[str], list[str]]:
        # What occurs on the candidate more often than the baseline's own noise allows.
        noisy = {name: outcomes for name, outcomes in self._outcomes.items() if outcomes.own}
        limit = FALSE_ALARM / max(1, len(noisy) + 2 * sum(len(group.noise.paths) for group in self._groups.values()))
        errors = [
            f"{name}: {outcomes.more} calls fail on the candidate alone, {outcomes.less} on the baseline alone"
            for name, outcomes in noisy.items()
            if sign_test(outcomes.more, outcomes.less) < limit
        ]
        unusual: list[str] = []
        for (command, _outcome), group in self._groups.items():
            for path, noise in group.noise.paths.items():
                where = f"{command} {path}"
                own, found = noise.calls & group.complete, group.candidate[path] & group.complete
                if 0.5 ** group.far[path] < limit:
                    shown = f"{noise.low:g} to {noise.high:g}"
                    unusual.append(
                        f"{where}: {group.far[path]} numbers are far outside of what the baseline showed, {shown}"
                    )
                if sign_test(len(found - own), len(own - found)) < limit:
                    unusual.append(f"{where}: differs in {len(found)} calls, but within the baseline in {len(own)}")
        return errors, unusual

    def _find_inconclusive(self) -> list[str]:
        constant: dict[str, bool] = {}
        for (command, _outcome), group in self._groups.items():
            noise = group.noise
            free = tuple(f"{path}{end}" for path, one in noise.paths.items() if one.kinds & WHOLE for end in (".", "["))
            found = {noise.general(leaf) for leaf in group.leaves}
            stays = any(not noise.kinds(leaf) & FREE and not leaf.startswith(free) for leaf in found)
            if group.leaves:
                constant[command] = constant.get(command, False) or stays
        return [command for command, stays in constant.items() if not stays]

    def _paths(self) -> list[PathCounts]:
        found = []
        for (command, outcome), group in sorted(self._groups.items()):
            for path in sorted(group.noise.paths.keys() | group.excess.keys()):
                noise = group.noise.paths.get(path)
                found.append(
                    PathCounts(
                        command=command,
                        outcome=outcome,
                        path=path,
                        kinds=tuple(sorted(group.noise.kinds(path))),
                        baseline=len(noise.calls) if noise is not None else 0,
                        candidate=len(group.candidate[path]),
                        different=group.excess[path],
                    )
                )
        return found

    def _observe(self, one: Op, other: Op) -> list[Seen] | None:
        # What differs in two answers; None if they are not comparable, because their outcomes differ.
        compare, ignore = self._comparing.compare, self._comparing.ignore
        if (ignore is not None and ignore(one, other)) or (compare is not None and compare(one, other)):
            return []
        if one.outcome != other.outcome:
            return None
        found = observe(self._answer(one), self._answer(other), self._comparing.comparers)
        return found if found or compare is None else [BY_HOOK]

    def _answer(self, op: Op) -> object:
        if id(op) not in self._answers:
            self._answers[id(op)] = answer_of(op, self._comparing)
        return self._answers[id(op)]


def _late(found: Sequence[Answer]) -> float:
    return quantile([max(0.0, answer.late_s) for answer in found], 0.99) if found else 0.0


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

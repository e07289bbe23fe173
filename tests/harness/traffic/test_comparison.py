"""The candidate's replay is compared with two of the baseline: only what exceeds the baseline's own noise counts."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from poolproof.bridge.recording import Call
from poolproof.harness.cli.app import main
from poolproof.harness.cli.commands import traffic
from poolproof.harness.model.comparing.comparers import ignore, similar_text
from poolproof.harness.model.errors import UsageError
from poolproof.harness.model.intended import Comparing
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.traffic.comparing import read_comparing
from poolproof.harness.traffic.comparison import TrafficComparison, compare_traffic
from poolproof.harness.traffic.outcome import Answer

WORDS = ("a", "fine", "red", "cat", "sat", "down")


def an_answer(value: Any = 1, outcome: str = "result", error: str = "") -> Answer:
    return Answer(outcome, value if outcome == "result" else None, error, "yes", 0.001, 0.002)


def compare(
    *samples: tuple[Any, Any, Any, Any], comparing: Comparing | None = None, command: str = "ask", damage: str = ""
) -> TrafficComparison:
    """Compare calls, each given by its answers: recorded, the baseline's first and second, the candidate's."""
    rows = [[one if isinstance(one, Answer) else an_answer(one) for one in sample] for sample in samples]
    calls = [
        Call(number, 1, 1, None, command, {}, outcome=row[0].outcome, value=row[0].value, error=row[0].error)
        for number, row in enumerate(rows)
    ]
    first, second, last = ([row[place] for row in rows] for place in (1, 2, 3))
    return compare_traffic(calls, first, second, last, comparing or Comparing(), damage)


def test_without_noise_each_difference_of_the_candidate_counts() -> None:
    found = compare((1, 1, 1, 1), (2, 1, 1, 1), (1, 1, 1, 1))
    assert (found.equal, found.changed, found.verdict) == (3, 1, Verdict.PASS)
    assert found.paths == ()
    found = compare((1, 1, 1, 1), (1, 1, 1, 2))
    assert (found.equal, found.different, found.verdict) == (1, 1, Verdict.FAIL)
    assert found.differences == ("operation 1 (ask): $: 1 became 2",)
    (path,) = found.paths
    assert (path.path, path.kinds, path.baseline, path.candidate, path.different) == ("$", (), 0, 1, 1)
    assert compare((1, 1, 1, 1), damage="cut off").verdict is Verdict.UNKNOWN
    assert compare().verdict is Verdict.UNKNOWN


def test_a_difference_beside_noise_is_found_and_the_noise_is_counted() -> None:
    def answer(at: int, x: int = 1) -> Any:
        return {"at": at, "x": x}

    quiet = compare((answer(1), answer(2), answer(3), answer(4)))
    assert (quiet.varied, quiet.verdict) == (1, Verdict.PASS)
    found = compare((answer(1), answer(2), answer(3), answer(4)), (answer(1), answer(2), answer(2), answer(4, 2)))
    assert found.differences == ("operation 1 (ask): $.x: 1 became 2",)
    counts = {one.path: (one.kinds, one.baseline, one.candidate, one.different) for one in found.paths}
    assert counts == {"$.at": (("number",), 1, 2, 0), "$.x": ((), 0, 1, 1)}


def test_what_only_the_recording_varies_in_is_undecided() -> None:
    found = compare((1, 2, 2, 3), (1, 1, 1, 1))
    assert (found.undecided, found.different, found.verdict) == (1, 0, Verdict.UNKNOWN)
    assert found.doubts == ("operation 0 (ask): $: 2 became 3",)


def test_a_command_of_which_everything_is_noise_is_inconclusive() -> None:
    found = compare(({"a": "x", "b": [1]}, {"a": "y", "b": [1, 2]}, {"a": "z", "b": []}, {"a": "w", "b": [5]}))
    assert (found.inconclusive, found.verdict) == (("ask",), Verdict.UNKNOWN)
    constant = compare(({"a": "x", "b": 1}, {"a": "y", "b": 1}, {"a": "z", "b": 1}, {"a": "w", "b": 1}))
    assert (constant.inconclusive, constant.verdict) == ((), Verdict.PASS)
    named = compare(({"x1": 1, "x2": 1, "m": 1}, {"x3": 1, "m": 1}, {"x4": 2, "m": 1}, {"x5": 3, "m": 1}))
    assert (named.inconclusive, named.verdict) == ((), Verdict.PASS)
    assert [(one.path, one.kinds) for one in named.paths] == [("$", ("names",)), ("$.*", ("value",))]
    data = ({"x1": 1, "x2": 1}, {"x3": 1}, {"x4": 2}, {"x5": 3})
    assert compare(data).inconclusive == ("ask",)
    object_or_null = ({"x": {"y": 1}}, {"x": {"y": 1}}, {"x": None}, {"x": None})
    assert compare(object_or_null).inconclusive == ("ask",)
    text = ("the cat sat", "the cat sits", "a cat sat", "the cats sat")
    assert compare(text).inconclusive == ("ask",)
    assert compare(text, comparing=Comparing(comparers=(similar_text(ratio=0.5),))).verdict is Verdict.PASS


@pytest.mark.parametrize(("failing", "verdict"), [(0, Verdict.PASS), (5, Verdict.PASS), (40, Verdict.FAIL)])
def test_an_error_that_the_baseline_has_too_must_be_more_frequent(failing: int, verdict: Verdict) -> None:
    error = an_answer(outcome="CommandError", error="busy")
    own = [(1, error, 1, 1), (1, 1, error, 1), (1, 1, 1, error)] * 3
    found = compare(*own, *([(1, 1, 1, error)] * failing), *([(1, 1, 1, 1)] * 100))
    assert (found.different, found.verdict) == (0, verdict)
    assert len(found.more_errors) == (verdict is Verdict.FAIL)


def test_an_error_that_the_baseline_never_has_counts_at_once() -> None:
    lost = an_answer(outcome="WorkerCrashed")
    assert compare((1, 1, 1, lost)).differences == ("operation 0 (ask): the outcome result became WorkerCrashed",)
    error = an_answer(outcome="CommandError", error="busy")
    assert compare((1, 1, error, 1), (1, 1, 1, lost)).verdict is Verdict.FAIL
    assert compare((error, 1, 1, 1), (1, 1, 1, error)).undecided == 1
    assert compare((lost, lost, lost, lost)).verdict is Verdict.PASS
    other = an_answer(outcome="CommandError", error="gone")
    assert compare((error, error, error, other)).different == 1
    assert compare((1, error, 1, other), (error, error, 1, other)).varied == 2, "no answer of the same call to compare"


@pytest.mark.parametrize(("number", "verdict"), [(200, Verdict.PASS), (5000, Verdict.UNKNOWN)])
def test_numbers_far_outside_of_the_baselines_range_are_reported(number: int, verdict: Verdict) -> None:
    choice = random.Random(1)

    def answer(most: int = 100) -> Any:
        return {"n": choice.random() * 100 + most, "x": 1}

    found = compare(*[(answer(), answer(), answer(), answer(number)) for _ in range(40)])
    assert (found.different, found.verdict) == (0, verdict)
    assert len(found.unusual) == (verdict is Verdict.UNKNOWN)


def test_a_path_that_varies_more_often_than_within_the_baseline_is_reported() -> None:
    rare = {"s": "retry", "x": 1}
    usual = {"s": "ok", "x": 1}
    samples = [(usual, rare, usual, usual), (usual, usual, rare, usual)] * 3
    assert compare(*samples, *[(usual, usual, usual, rare)] * 6).verdict is Verdict.PASS
    found = compare(*samples, *[(usual, usual, usual, rare)] * 60)
    assert found.unusual == ("ask $.s: differs in 63 calls, but within the baseline in 6",)
    assert found.verdict is Verdict.UNKNOWN


def test_hooks_and_comparers_come_first() -> None:
    pair = ({"id": 1}, {"id": 1}, {"id": 1}, {"id": 2})
    for alike in (
        Comparing(ignore=lambda one, other: True),
        Comparing(compare=lambda one, other: True),
        Comparing(clean=lambda op: None),
        Comparing(comparers=(ignore("$.id"),)),
    ):
        assert compare(pair, comparing=alike).verdict is Verdict.PASS
    picky = Comparing(compare=lambda one, other: one.value == other.value != 3)
    assert compare((1, 1, 1, 1), comparing=picky).verdict is Verdict.PASS
    blind = Comparing(compare=lambda one, other: one.value == other.value, clean=lambda op: 0)
    assert "hook `compare`" in compare((1, 1, 1, 2), comparing=blind).differences[0]
    broken = compare((1, 1, 1, 1), comparing=Comparing(clean=lambda op: op.value["x"]))
    assert (broken.undecided, broken.verdict) == (1, Verdict.UNKNOWN)
    assert "a comparing hook raised TypeError" in broken.doubts[0]


def noisy(number: int, choice: random.Random) -> Any:
    """An answer of a noisy model to the call of this number, or its error."""
    if choice.random() < 0.01:
        return an_answer(outcome="CommandError", error=f"overloaded, request {choice.getrandbits(32)}")
    items = [{"id": choice.getrandbits(32), "name": f"n{number}.{place}"} for place in range(4)]
    choice.shuffle(items)
    answer = {
        "model": "m1",
        "text": " ".join(choice.choices(WORDS, k=6)),
        "created": 1_000 + number + choice.random(),
        "items": items,
        "score": choice.gauss(0.8, 0.05),
        "usage": {"tokens": choice.randrange(5, 50), "limit": 100},
        "finish": choice.choice(["stop", None]),
    }
    if choice.random() < 0.3:
        answer["note"] = "cached"
    return answer


def change(number: int, answer: Any, harm: Callable[[Any], Any]) -> Any:
    """Apply a planted difference to one answer in 500; errors stay."""
    return harm(answer) if number % 500 == 7 and isinstance(answer, dict) else answer


CALLS = 2500
PLANTED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "a wrong constant beside noise": (lambda a: {**a, "usage": {**a["usage"], "limit": 101}}, "$.usage.limit"),
    "a missing field": (lambda a: {k: v for k, v in a.items() if k != "model"}, "$.model"),
    "another type": (lambda a: {**a, "score": str(a["score"])}, "$.score"),
    "a lost element": (lambda a: {**a, "items": a["items"][1:]}, "$.items"),
}


def test_a_noisy_model_is_never_accused_and_each_planted_difference_is_found() -> None:
    choice = random.Random(24)
    samples = [tuple(noisy(number, choice) for _ in range(4)) for number in range(CALLS)]
    found = compare(*samples)
    assert (found.different, found.undecided, found.more_errors, found.unusual) == (0, 0, (), ())
    assert found.verdict is Verdict.PASS
    assert found.varied > 0.9 * CALLS
    for harm, path in PLANTED.values():
        harmed = compare(*((*row[:3], change(number, row[3], harm)) for number, row in enumerate(samples[:600])))
        assert harmed.different in (1, 2)
        assert [one.path for one in harmed.paths if one.different] == [path]
    error = an_answer(outcome="CommandError", error="overloaded, request 1")
    often = compare(*((*row[:3], error if choice.random() < 0.1 else row[3]) for row in samples[:600]))
    assert (often.different, len(often.more_errors), often.verdict) == (0, 1, Verdict.FAIL)


@pytest.mark.parametrize(
    ("samples", "code", "told"),
    [
        (
            [({"at": 1, "x": 1}, {"at": 2, "x": 1}, {"at": 3, "x": 1}, {"at": 4, "x": 2})],
            1,
            [
                "DIFFERENT: operation 0 (ask): $.x: 1 became 2",
                "noise (number): ask $.at (result): calls that differ: 1 within v1, 1 on v2, 0 of them beyond",
                "no noise: ask $.x (result): calls that differ: 0 within v1, 1 on v2, 1 of them beyond the noise",
                "FAIL: v2 replacing v1",
            ],
        ),
        (
            [(1, 2, 3, 4)],
            3,
            [
                "INCONCLUSIVE: everything varies by itself in the answers of ask; give comparers for it",
                "1 calls: 0 alike (0 not as recorded), 1 vary as the baseline does, 0 different, 0 undecided",
                "UNKNOWN: v2 replacing v1",
            ],
        ),
        ([(1, 2, 2, 3)], 3, ["undecided: operation 0 (ask): $: 2 became 3"]),
        (
            [
                (
                    {f"a{n}": 1 for n in range(40)},
                    {f"a{n}": 2 for n in range(40)},
                    {f"a{n}": 1 for n in range(40)},
                    {f"a{n}": 1 for n in range(40)},
                )
            ],
            3,
            ["10 further paths; --json has them all"],
        ),
    ],
)
def test_the_command_tells_differences_noise_and_what_is_inconclusive(
    samples: Any, code: int, told: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = compare(*samples)
    monkeypatch.setattr(traffic, "compare_recording", lambda *_args, **_options: found)
    assert main(["compare", "--traffic", "calls.rec"]) == code
    printed = capsys.readouterr().out
    assert all(text in printed for text in told), printed
    assert main(["compare", "--traffic", "calls.rec", "--json"]) == code
    result = json.loads(capsys.readouterr().out)
    assert (result["verdict"], len(result["paths"])) == (found.verdict, len(found.paths))


def test_comparers_are_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "comparers.toml"
    file.write_text(
        'ignore = ["$..created"]\nunordered = ["$.items"]\nexact = ["$.n"]\n'
        '[[tolerance]]\npath = "$.score"\nrelative = 0.1\n[[similar_text]]\nratio = 0.5\n'
    )
    one = {"created": 1, "items": [1, 2], "n": 1, "score": 1.0, "text": "a cat"}
    other = {"created": 2, "items": [2, 1], "n": 1, "score": 1.05, "text": "a bat", "at": 1}
    assert compare((one, one, one, other), comparing=read_comparing(file, ["$.at"])).verdict is Verdict.PASS
    assert compare((one, one, one, {**one, "n": 1.0}), comparing=read_comparing(file)).verdict is Verdict.FAIL
    for text, told in (("x = 1", "unknown field"), ("=", "Invalid"), ('ignore = ["a"]', "'a' is not a path")):
        file.write_text(text)
        with pytest.raises(UsageError, match=told):
            read_comparing(file)
    with pytest.raises(UsageError, match="No such file"):
        read_comparing(tmp_path / "none")

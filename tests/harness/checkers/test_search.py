"""The search for an order: what it finds, what it excludes, and where it stops."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

from poolproof.harness.checkers.calls.search import Call, State, Step, find_order
from poolproof.harness.model.verdict import Verdict


def write(value: bytes) -> Step:
    return lambda _: (("k", value),)


def read(value: bytes | None) -> Step:
    expected: State = () if value is None else (("k", value),)
    return lambda state: state if state == expected else None


def search(*calls: Call, most_visited: int = 10_000) -> tuple[Verdict, int]:
    found = find_order(calls, most_visited=most_visited)
    return found.verdict, found.placed


def test_calls_one_after_another_have_the_order_of_time() -> None:
    assert search(Call(0, 0, 1, write(b"a")), Call(1, 2, 3, read(b"a"))) == (Verdict.PASS, 2)
    assert search(Call(0, 0, 1, write(b"a")), Call(1, 2, 3, read(None))) == (Verdict.FAIL, 1)


def test_calls_at_the_same_time_may_have_either_order() -> None:
    for seen in (b"a", None):
        assert search(Call(0, 0, 5, write(b"a")), Call(1, 1, 4, read(seen)))[0] is Verdict.PASS


def test_two_readers_cannot_see_two_writes_in_opposite_orders() -> None:
    writes = [Call(0, 0, 9, write(b"a")), Call(1, 0, 9, write(b"b"))]
    one = [Call(2, 10, 11, read(b"a")), Call(3, 12, 13, read(b"b"))]
    assert search(*writes, *one) == (Verdict.FAIL, 3)
    assert search(*writes, one[0]) == (Verdict.PASS, 3)


def test_a_call_without_an_answer_may_have_happened_late_or_never() -> None:
    doubtful = Call(0, 0, None, write(b"a"))
    assert search(doubtful, Call(1, 5, 6, read(None)))[0] is Verdict.PASS
    assert search(doubtful, Call(1, 5, 6, read(b"a")))[0] is Verdict.PASS
    assert search(doubtful, Call(1, 5, 6, read(None)), Call(2, 7, 8, read(b"a")))[0] is Verdict.PASS
    assert search(doubtful, Call(1, 5, 6, read(b"a")), Call(2, 7, 8, read(None)))[0] is Verdict.FAIL


def test_a_call_without_an_answer_cannot_happen_before_it_was_made() -> None:
    assert search(Call(0, 5, None, write(b"a")), Call(1, 0, 4, read(b"a"))) == (Verdict.FAIL, 0)


def test_the_bound_leaves_it_unknown_with_the_longest_prefix() -> None:
    calls = [Call(number, 2 * number, 2 * number + 1, write(b"a")) for number in range(10)]
    assert search(*calls, most_visited=4) == (Verdict.UNKNOWN, 3)


def test_what_was_met_before_is_not_searched_again() -> None:
    # 14 equal writes at once have 14! orders, and 2^14 configurations.
    calls = [Call(number, 0, 100, write(b"a")) for number in range(14)]
    found = find_order([*calls, Call(99, 200, 201, read(b"b"))], most_visited=100_000)
    assert (found.verdict, found.placed) == (Verdict.FAIL, 14)
    assert found.visited <= 2**14 + 14
    assert found.stuck == (99,)


def test_it_finds_what_trying_every_order_finds() -> None:
    choice = random.Random(4)
    verdicts = set()
    for _ in range(300):
        calls = []
        for number in range(5):
            began = choice.randrange(8)
            value = choice.choice((b"a", b"b"))
            step = write(value) if choice.random() < 0.5 else read(choice.choice((value, None)))
            calls.append(Call(number, began, None if choice.random() < 0.2 else began + choice.randrange(1, 5), step))
        verdict = find_order(calls, most_visited=10_000).verdict
        assert (verdict is Verdict.PASS) == _any_order(calls)
        verdicts.add(verdict)
    assert verdicts == {Verdict.PASS, Verdict.FAIL}


def _any_order(calls: Sequence[Call]) -> bool:
    answered = {call.index for call in calls if call.returned is not None}
    for length in range(len(calls) + 1):
        for order in itertools.permutations(calls, length):
            if answered <= {call.index for call in order} and _fits(order):
                return True
    return False


def _fits(order: Sequence[Call]) -> bool:
    for place, call in enumerate(order):
        if any(later.returned is not None and later.returned < call.invoked for later in order[place:]):
            return False
    state: State = ()
    for call in order:
        after = call.step(state)
        if after is None:
            return False
        state = after
    return True


def test_the_bound_holds_for_calls_that_overlap_too() -> None:
    calls = [Call(number, 0, 100, write(b"a")) for number in range(6)]
    assert search(*calls, Call(6, 101, 102, read(b"b")), most_visited=5)[0] is Verdict.UNKNOWN


def test_a_doubtful_call_that_does_not_fit_is_not_taken() -> None:
    def strict(state: State) -> State | None:
        assert state is not None
        return None if state else (("k", b"a"),)

    assert search(Call(0, 0, 9, read(None)), Call(1, 0, None, strict), Call(2, 1, 8, write(b"b")))[0] is Verdict.PASS


def test_the_evidence_names_the_calls_that_do_not_fit_after_the_longest_prefix() -> None:
    calls = [
        Call(0, 0, 9, write(b"a")),
        Call(1, 0, 9, write(b"b")),
        Call(2, 10, 12, read(b"c")),
        Call(3, 11, 13, read(b"d")),
    ]
    found = find_order(calls, most_visited=1000)
    assert (found.verdict, found.placed, found.stuck) == (Verdict.FAIL, 2, (2, 3))

"""Searches an order of concurrent calls that explains all of their answers, by the algorithm of Wing and Gong.

Pure. The search knows nothing of sessions or commands: a call is an interval and a step of an immutable state. A
configuration that was visited before is not searched again, as in Lowe, "Testing for linearizability" (2017).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TypeAlias

import msgspec

from poolproof.harness.model.verdict import Verdict

State: TypeAlias = tuple[tuple[str, bytes], ...]
"""Pairs of name and value, sorted by name."""
Step: TypeAlias = Callable[[State], State | None]
"""Returns the state after a call, or None if the call's answer does not fit the state before it."""
Configuration: TypeAlias = tuple[int, int, int, State]
"""(base, done, tried, state): the number of leading answered calls that are done, a bit mask of the further answered
calls that are done, a bit mask of the unanswered calls that were taken, and the state.
"""


class Call(msgspec.Struct, frozen=True):
    """One call. `returned` is None if the call was never answered: it may have happened at any later time, or never.

    All times are of one clock. `index` is the caller's number for the call.
    """

    index: int
    invoked: int
    returned: int | None
    step: Step


class Found(msgspec.Struct, frozen=True):
    """The result of a search: PASS, FAIL, or UNKNOWN if the bound was reached.

    `placed` is the length of the longest prefix: for how many of the `answered` calls an order was found. `stuck` are
    the indexes of the calls that could come next in that order, none of which fits.
    """

    verdict: Verdict
    answered: int
    placed: int
    visited: int
    stuck: tuple[int, ...] = ()


def find_order(calls: Sequence[Call], *, most_visited: int, start: State = ()) -> Found:
    """Search depth first for an order of the calls that explains all answers.

    A call comes before another if it returned before the other was invoked. Visits at most `most_visited`
    configurations, and holds no more in memory.
    """
    answered = sorted((call for call in calls if call.returned is not None), key=lambda call: call.invoked)
    doubtful = sorted((call for call in calls if call.returned is None), key=lambda call: call.invoked)
    if not doubtful and all(_before(one, other) for one, other in itertools.pairwise(answered)):
        return _follow(answered, most_visited, start)
    stack: list[Configuration] = [(0, 0, 0, start)]
    seen: set[Configuration] = set()
    visited = best = 0
    stuck: tuple[int, ...] = ()
    while stack:
        if visited >= most_visited:
            return Found(Verdict.UNKNOWN, len(answered), best, visited, stuck)
        base, done, tried, state = stack.pop()
        visited += 1
        if base == len(answered):
            return Found(Verdict.PASS, len(answered), base, visited)
        nearest, bound = _may_come_next(answered, base, done)
        follow: list[Configuration] = []
        for number, call in enumerate(doubtful):
            if call.invoked > bound:
                break
            after = None if tried >> number & 1 else call.step(state)
            if after is not None and after != state:  # leaving out a call that changes nothing gives the same states
                follow.append((base, done, tried | 1 << number, after))
        for offset in reversed(nearest):
            after = answered[base + offset].step(state)
            if after is not None:
                follow.append((*_advance(base, done | 1 << offset), tried, after))
        placed = base + done.bit_count()
        if placed > best or (placed == best and not stuck):
            best, stuck = placed, tuple(answered[base + offset].index for offset in nearest)
        if len(nearest) == 1 and not doubtful:
            stack += follow  # only this order leads to the next configuration
            continue
        for configuration in follow:
            if configuration not in seen:
                seen.add(configuration)
                stack.append(configuration)
    return Found(Verdict.FAIL, len(answered), best, visited, stuck)


def _before(one: Call, other: Call) -> bool:
    return one.returned is not None and one.returned < other.invoked


def _follow(answered: Sequence[Call], most_visited: int, state: State) -> Found:
    # Calls that do not overlap have only one order.
    for place, call in enumerate(answered):
        if place + 1 >= most_visited:
            return Found(Verdict.UNKNOWN, len(answered), place, place, (call.index,))
        after = call.step(state)
        if after is None:
            return Found(Verdict.FAIL, len(answered), place, place + 1, (call.index,))
        state = after
    return Found(Verdict.PASS, len(answered), len(answered), len(answered))


def _may_come_next(answered: Sequence[Call], base: int, done: int) -> tuple[list[int], int]:
    # The offsets of the calls that may come next, and the first return among the calls that are not done.
    bound: int | None = None
    open_: list[int] = []
    for position in range(base, len(answered)):
        call = answered[position]
        if bound is not None and call.invoked > bound:
            break
        if done >> (position - base) & 1:
            continue
        open_.append(position - base)
        if call.returned is not None and (bound is None or call.returned < bound):
            bound = call.returned
    assert bound is not None, "an answered call is left"
    return [offset for offset in open_ if answered[base + offset].invoked <= bound], bound


def _advance(base: int, done: int) -> tuple[int, int]:
    while done & 1:
        done >>= 1
        base += 1
    return base, done

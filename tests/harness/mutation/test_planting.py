"""Planting: a bug reaches every module that has imported a function, is counted when it runs, and leaves no trace."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

import poolproof.bridge.wire.exchange
import poolproof.pool_v2.calls.transfer
from poolproof.bridge.processes.channel import Channel
from poolproof.bridge.wire.exchange import check, receive
from poolproof.bridge.wire.receiver import Receiver
from poolproof.harness.mutation.planting import MutantError, entered, mark_entered, replace, replace_everywhere, undo


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    yield
    undo()


class Place:
    def work(self, one: int, two: int = 2, *, three: int) -> int:
        return one + two + three


def test_a_bug_whose_place_is_called_otherwise_now_cannot_be_planted() -> None:
    for make in (
        lambda _: lambda self, one, *, three: 0,
        lambda _: lambda self, one, two=2: 0,
        lambda _: lambda self, one, two, *, three: 0,
        lambda _: lambda self, one, two=2, *, three, four: 0,
    ):
        with pytest.raises(MutantError, match=r"Place\.work\(self, one: .* cannot be replaced by one of \(self, one"):
            replace(Place, "work", make)
    with pytest.raises(MutantError, match=r"bridge\.wire\.exchange\.check\(payload: .* cannot be replaced"):
        replace_everywhere(check, lambda _: lambda payload: 0)
    assert undo() == ()
    replace(Place, "work", lambda _: lambda self, *args, three, **rest: 7)
    assert Place().work(1, three=3) == 7
    assert undo() == ("Place.work",)


def test_what_has_moved_is_an_error() -> None:
    with pytest.raises(MutantError, match="Channel has no 'no_such_step'"):
        replace(Channel, "no_such_step", lambda original: original)
    with pytest.raises(MutantError, match=r"no module of poolproof.bridge, .* has .*<lambda>"):
        replace_everywhere(lambda nobodys: nobodys, lambda original: original)
    assert undo() == ()


def test_a_function_is_replaced_wherever_it_was_imported() -> None:
    replace_everywhere(receive, lambda _: lambda *args, **options: "another")
    exchange: Any = poolproof.bridge.wire.exchange
    transfer: Any = poolproof.pool_v2.calls.transfer
    assert exchange.receive is transfer.receive is not receive
    assert exchange.receive(1, 2, 3, 4) == "another"
    assert {
        "poolproof.bridge.wire.exchange.receive",
        "poolproof.pool_v2.calls.transfer.receive",
        "poolproof.bridge.processes.channel.receive",
    } <= set(undo())
    assert exchange.receive is transfer.receive is receive


def test_a_bug_is_counted_when_it_is_entered_and_not_when_it_is_planted() -> None:
    replace(Place, "work", lambda _: lambda self, one, two=2, *, three: 0)
    assert not entered()
    Place().work(1, three=3)
    assert entered()
    undo()
    assert not entered()


def test_a_bug_that_counts_itself_is_not_counted_when_it_is_entered() -> None:
    def only_large(work: Any) -> Any:
        def bad(self: Place, one: int, two: int = 2, *, three: int) -> int:
            if one > 10:
                mark_entered()
            return work(self, one, two, three=three)

        return bad

    replace(Place, "work", only_large, counted=False)
    Place().work(1, three=3)
    assert not entered()
    Place().work(11, three=3)
    assert entered()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_what_a_forked_child_executes_counts() -> None:
    replace(Receiver, "room", lambda _: lambda self: None)
    child = os.fork()
    if child == 0:
        Receiver(limit_bytes=1).room()
        os._exit(0)
    os.waitpid(child, 0)
    assert entered()

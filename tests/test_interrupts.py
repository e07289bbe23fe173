"""The helper that interrupts some work at every place where Ctrl-C may come: it misses none, on any Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

DONE: list[str] = []


def _inner(*, word: str) -> None:
    DONE.append(word)


def _work() -> None:
    DONE.clear()
    for word in ("a", "b"):
        _inner(word=word)
    DONE.extend(*[["c"]])


def test_an_interrupt_comes_at_the_beginning_of_each_function_and_after_each_other_call(
    interrupted_after: Callable[..., bool],
) -> None:
    left: list[Any] = []
    while interrupted_after(len(left), _work, {__file__}):
        left.append("".join(DONE))
    assert left == ["", *("", "a"), *("a", "ab"), "abc"]


def test_code_of_other_files_is_not_interrupted(interrupted_after: Callable[..., bool]) -> None:
    assert not interrupted_after(0, _work, {"another.py"})
    assert interrupted_after(0, _work, {__file__})

"""Delta debugging: the smallest selection for which a test still holds (Zeller and Hildebrandt 2002, ddmin).

Pure: the test is an argument; the caller decides what it does and when it stops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from poolproof.harness.shrink.selection import Selection, Whole

Item = TypeVar("Item")


class Spent(Exception):
    """The test may not run again; the message names the bound that was reached."""


def ddmin(items: Sequence[Item], holds: Callable[[Sequence[Item]], bool]) -> list[Item]:
    """Return a smallest part of the items for which `holds` is true. `holds` must be true for all items together.

    If `holds` is deterministic, it is false for the result without any one of its items. An exception Spent is passed
    on.
    """
    left = list(items)
    if left and holds([]):
        return []
    parts = 2
    while len(left) >= 2:
        size = -(-len(left) // parts)
        chunks = [left[start : start + size] for start in range(0, len(left), size)]
        for position, chunk in enumerate(chunks):
            rest = [item for other in chunks[:position] + chunks[position + 1 :] for item in other]
            if len(chunks) > 2 and holds(chunk):
                left, parts = chunk, 2
                break
            if holds(rest):
                left, parts = rest, max(parts - 1, 2)
                break
        else:
            if parts >= len(left):
                break
            parts = min(len(left), 2 * parts)
    return left


class Reduction:
    """Reduces a whole plan. `best` is always the smallest selection that has held so far.

    `hints` are selections of operations to try first, the smallest first; `begin` goes on from the first that holds.
    """

    def __init__(self, whole: Whole, holds: Callable[[Selection], bool], hints: Iterable[frozenset[int]] = ()) -> None:
        self._whole = whole
        self._hints = hints
        self._holds = holds
        self._known: dict[Selection, bool] = {}
        self.best = whole.everything

    def begin(self) -> bool:
        """Try the hints. Returns whether one of them holds; False too if the test is spent."""
        try:
            return any(self._try(ops=ops & self.best.ops) for ops in self._hints)
        except Spent:
            return False

    def carry_out(self) -> str:
        """Reduce until nothing more can be left out (returns ""), or until the test is spent (returns the reason)."""
        try:
            while True:
                before = self.best
                self._clients()
                self._faults()
                self._ops()
                self._workers()
                if self.best == before:
                    return ""
        except Spent as spent:
            return str(spent)

    def _clients(self) -> None:
        clients = [ops & self.best.ops for ops in self._whole.clients() if ops & self.best.ops]
        ddmin(clients, lambda kept: self._try(ops=frozenset().union(*kept)))

    def _faults(self) -> None:
        ddmin(sorted(self.best.faults), lambda kept: self._try(faults=frozenset(kept)))

    def _ops(self) -> None:
        ddmin(sorted(self.best.ops), lambda kept: self._try(ops=frozenset(kept)))

    def _workers(self) -> None:
        for workers in _fewer(self.best.workers):
            if self._try(workers=workers):
                return

    def _try(
        self, *, ops: frozenset[int] | None = None, faults: frozenset[int] | None = None, workers: int | None = None
    ) -> bool:
        best = self.best
        wanted = Selection(
            ops=best.ops if ops is None else ops,
            faults=best.faults if faults is None else faults,
            workers=best.workers if workers is None else workers,
        )
        wanted = self._whole.settle(wanted)
        if not wanted.ops:
            return False
        if wanted == best:
            return True
        if wanted not in self._known:
            self._known[wanted] = self._holds(wanted)
        if self._known[wanted]:
            self.best = wanted
        return self._known[wanted]


def _fewer(workers: int) -> Iterable[int]:
    # 1 first, since most findings need one worker only; then halfway up.
    tried = 1
    while tried < workers:
        yield tried
        tried = max(tried + 1, (tried + workers + 1) // 2)


def size_of(selection: Selection, whole: Whole) -> dict[str, int]:
    """The numbers of operations, clients, faults and workers of a selection."""
    clients = sum(bool(ops & selection.ops) for ops in whole.clients())
    return {
        "ops": len(selection.ops),
        "clients": clients,
        "faults": len(selection.faults),
        "workers": selection.workers,
    }

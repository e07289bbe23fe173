"""What a checker is and what it finds.

Pure. A checker reads a history and nothing else; one that breaks is unknown, never a pass.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from poolproof.harness.history.history import History
from poolproof.harness.model.verdict import Verdict


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One checker's answer about one run: a verdict, one sentence, the figures behind it and some examples."""

    checker: str
    verdict: Verdict
    claim: str
    guarantees: tuple[str, ...] = ()
    figures: dict[str, float | int | str] = {}
    examples: tuple[str, ...] = ()


class Checker(Protocol):
    """Decides one claim. Instances are frozen and carry their bounds.

    A checker whose claim only the pool's events can decide has an attribute `needs_events` that is true. It is asked in
    observed runs alone; see `asked_in`. One that cannot pass unless some call ends in a certain way has an attribute
    `demands`, sets of outcomes of each of which one must occur; see `demanded_by`.
    """

    @property
    def name(self) -> str:
        """The name under which it is listed and referred to."""
        ...

    @property
    def guarantees(self) -> tuple[str, ...]:
        """Which guarantees it decides, such as "G2"."""
        ...

    def check(self, history: History) -> Finding:
        """The finding. Must be UNKNOWN if the history holds nothing to decide it from."""
        ...


MAX_EXAMPLES = 5


def asked_in(checker: Checker, *, observed: bool) -> bool:
    """Whether this checker is asked about a run that was observed, or was not."""
    return observed or not getattr(checker, "needs_events", False)


def demanded_by(checker: Checker) -> tuple[frozenset[str], ...]:
    """Sets of outcomes, of each of which one must occur if this checker is to pass."""
    demands: tuple[frozenset[str], ...] = getattr(checker, "demands", ())
    return demands


def finding(
    checker: Checker,
    verdict: Verdict,
    claim: str,
    *,
    figures: dict[str, float | int | str] | None = None,
    examples: list[str] | None = None,
) -> Finding:
    """A finding in the name of `checker`, with its first few examples."""
    return Finding(
        checker=checker.name,
        verdict=verdict,
        claim=claim,
        guarantees=checker.guarantees,
        figures=figures or {},
        examples=tuple((examples or [])[:MAX_EXAMPLES]),
    )


def run_checker(checker: Checker, history: History) -> Finding:
    """The checker's finding; UNKNOWN with the reason if it breaks."""
    try:
        return checker.check(history)
    except Exception as error:
        return finding(checker, Verdict.UNKNOWN, f"the checker broke: {type(error).__name__}: {error}")

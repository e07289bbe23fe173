"""The interface of a checker, and the finding that it returns.

Pure. A checker reads a history and nothing else. A checker that raises gives UNKNOWN, never a pass.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from poolproof.harness.history.history import History
from poolproof.harness.model.verdict import Verdict


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One checker's answer about one run: a verdict, one sentence, the figures behind the verdict and some examples."""

    checker: str
    verdict: Verdict
    claim: str
    guarantees: tuple[str, ...] = ()
    figures: dict[str, float | int | str] = {}
    examples: tuple[str, ...] = ()


class Checker(Protocol):
    """Decides one claim about a run. Instances are frozen and hold their bounds as fields.

    A checker that can decide its claim only from the pool's events has an attribute `needs_events` that is true; it
    judges observed runs alone (see `asked_in`). A checker that passes only if certain outcomes occur has an attribute
    `demands`: sets of outcomes, and at least one outcome of each set must occur (see `demanded_by`).
    """

    @property
    def name(self) -> str:
        """The name of the checker in listings and references."""
        ...

    @property
    def guarantees(self) -> tuple[str, ...]:
        """The guarantees that the checker decides, such as "G2"."""
        ...

    def check(self, history: History) -> Finding:
        """Judge the history. Must return UNKNOWN if the history has no data to decide the claim from."""
        ...


MAX_EXAMPLES = 5


def asked_in(checker: Checker, *, observed: bool) -> bool:
    """Return whether this checker judges a run that was observed, or was not (`observed`)."""
    return observed or not getattr(checker, "needs_events", False)


def demanded_by(checker: Checker) -> tuple[frozenset[str], ...]:
    """Return sets of outcomes; the checker can pass only if at least one outcome of each set occurs."""
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
    """Make a finding in the name of `checker`, with only the first few of `examples`."""
    return Finding(
        checker=checker.name,
        verdict=verdict,
        claim=claim,
        guarantees=checker.guarantees,
        figures=figures or {},
        examples=tuple((examples or [])[:MAX_EXAMPLES]),
    )


def run_checker(checker: Checker, history: History) -> Finding:
    """Run the checker on the history; if the checker raises, return UNKNOWN with the reason."""
    try:
        return checker.check(history)
    except Exception as error:
        return finding(
            checker, Verdict.UNKNOWN, f"the checker itself failed with an error: {type(error).__name__}: {error}"
        )

"""The evidence from which checkers decide, and which of it a pool cannot show.

Pure. A checker has an attribute `evidence`: at least one of these kinds is needed, and without it the checker cannot
decide. Only a pool that declares beforehand that it cannot show a kind of evidence is not asked; if a pool that
declares nothing shows nothing, the checker says UNKNOWN.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum


class Evidence(StrEnum):
    """A kind of record beside what the callers themselves see."""

    EVENTS = "events"
    JOURNALS = "journals"
    STATISTICS = "statistics"


TO_HAVE_IT: dict[Evidence, str] = {
    Evidence.EVENTS: "let the pool report its steps to the observer that its factory gets",
    Evidence.JOURNALS: "let the workers keep journals",
    Evidence.STATISTICS: "let status() return the pool's own counts of calls",
}
"""By kind of evidence: what makes it available."""
FROM_EVENTS = frozenset({Evidence.EVENTS})
FROM_EVENTS_OR_JOURNALS = frozenset({Evidence.EVENTS, Evidence.JOURNALS})
FROM_JOURNALS = frozenset({Evidence.JOURNALS})
FROM_STATISTICS = frozenset({Evidence.STATISTICS})


def evidence_of(checker: object) -> frozenset[Evidence]:
    """Return the kinds of evidence of which the checker needs at least one; empty if the callers' view is enough."""
    found: frozenset[Evidence] = getattr(checker, "evidence", frozenset())
    return found or (FROM_EVENTS if getattr(checker, "needs_events", False) else frozenset())


def is_blind(checker: object, cannot_show: Collection[str]) -> bool:
    """Return whether the pool can show none of the evidence that the checker needs."""
    needed = evidence_of(checker)
    return bool(needed) and needed <= {Evidence(word) for word in cannot_show}


def tell_evidence(needed: Collection[Evidence]) -> str:
    """Return the kinds as words: "events or journals"."""
    return " or ".join(kind.value for kind in Evidence if kind in needed)

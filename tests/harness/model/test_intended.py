"""The ledger of intended differences: an entry needs a reason, names what it excuses, and has a last day."""

from __future__ import annotations

from typing import Any

import pytest

from poolproof.harness.model.errors import UsageError
from poolproof.harness.model.intended import DifferenceKind, IntendedDifference, excuse_answer, find_excuse, not_seen


def entry(**fields: Any) -> IntendedDifference:
    return IntendedDifference(**{"pool": "v1", "checker": "fifo", "reason": "it is so", **fields})


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"reason": " "}, "v1 in fifo gives no reason"),
        ({"until": "soon"}, "until 'soon' is not a date such as 2026-12-31"),
        ({"until": "2026-13-01"}, "until '2026-13-01' is not a date"),
        ({"checker": "answers"}, "would excuse every answer; give it a label or a kind"),
        ({"label": "x"}, "only an entry for 'answers' may have a label or a kind"),
        ({"kind": DifferenceKind.VALUE}, "only an entry for 'answers' may have a label or a kind"),
    ],
)
def test_an_impossible_entry_is_refused(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        entry(**fields)


def test_an_excuse_is_for_its_own_pool_and_checker_and_until_its_last_day() -> None:
    kept = entry(until="2026-12-31")
    assert find_excuse([kept], {"v1"}, "fifo", today="2026-12-31").reason == "it is so"
    assert find_excuse([kept], {"v2"}, "fifo", today="2026-01-01").reason == ""
    assert find_excuse([kept], {"v1"}, "other", today="2026-01-01").reason == ""
    old = find_excuse([kept], {"v1"}, "fifo", today="2027-01-01")
    assert (old.reason, old.ran_out) == ("", "the declaration of this failure ran out on 2026-12-31: it is so")
    assert find_excuse([kept, entry()], {"v1"}, "fifo", today="2027-01-01").reason == "it is so"


def test_an_answer_is_excused_by_label_and_kind() -> None:
    both = entry(checker="answers", label="get", kind=DifferenceKind.VALUE)
    for label, kind, excused in [
        ("get", DifferenceKind.VALUE, True),
        ("put", DifferenceKind.VALUE, False),
        ("get", DifferenceKind.MISSING, False),
    ]:
        found = excuse_answer([both], ("v1", "v2"), label, kind, today="2026-01-01")
        assert (found.entry is both) == excused


def test_what_did_not_show_is_told_for_its_pool_only() -> None:
    entries = [entry(), entry(pool="v2"), entry(checker="overlap", until="2025-01-01")]
    assert not_seen(entries, "v1", {"fifo"}, scenario="tiny", today="2026-01-01") == [
        "tiny: v1 was declared to fail overlap, but did not fail it; the declaration ran out on 2025-01-01"
    ]
    assert not_seen(entries, "v3", set(), scenario="tiny", today="2026-01-01") == []

"""Joins the sentences about what could not be decided, so that a report names each cause once, not once for each run.

Pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

SENTENCE = re.compile(
    r"(?P<scenario>[^:]+?) on (?P<pool>[^,]+?)(?P<way>, face .+?observed)?: (?P<rest>the checker \S+ .+)", re.S
)
LEAST = 3
"""The smallest number of equal sentences that are joined."""
MOST_NAMED = 3


def collect(sentences: Sequence[str]) -> list[str]:
    """Return the sentences. Equal claims of one checker about one pool become one sentence with the number of runs."""
    groups: dict[tuple[str, str], list[str]] = {}
    for sentence in sentences:
        found = SENTENCE.fullmatch(sentence)
        key = ("", sentence) if found is None else (found["pool"], found["rest"])
        groups.setdefault(key, []).append(sentence)
    told: list[str] = []
    for (pool, rest), same in groups.items():
        if not pool or len(same) < LEAST:
            told += same
            continue
        names = list(dict.fromkeys(found["scenario"] for text in same if (found := SENTENCE.fullmatch(text))))
        more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        where = f"{', '.join(names[:MOST_NAMED])}{more}"
        told.append(f"{pool}, in {len(same)} runs ({where}): {rest}")
    return told

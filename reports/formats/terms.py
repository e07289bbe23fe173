"""Links the words of a report: terms, numbers and checkers to the page's glossary, scenarios to their evidence.

Pure. Text is escaped before it is searched, and a link holds nothing but an anchor and the word itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import markupsafe

from poolproof.bridge.safe_text import printable
from poolproof.reports.view.model import View

COMMON = frozenset({"block", "round", "run", "worker"})
"""Terms that texts use too often to link each use; they are in the glossary nevertheless."""


class Linker:
    """Links each word at its first place in a text. `anchors` are by word; words in lower case match any case."""

    def __init__(self, anchors: Mapping[str, tuple[str, str]]) -> None:
        self._anchors = anchors
        words = sorted((str(markupsafe.escape(word)) for word in anchors), key=lambda word: (-len(word), word))
        self._pattern = re.compile(rf"(?<![\w.-])(?:{'|'.join(map(re.escape, words))})(?![\w-])", re.IGNORECASE)

    def __call__(self, text: str) -> markupsafe.Markup:
        """The text as HTML, with the links."""
        seen: set[str] = set()

        def link(found: re.Match[str]) -> str:
            word = found.group()
            known = word if word in self._anchors else word.lower()
            if known not in self._anchors or known in seen:
                return word
            seen.add(known)
            kind, anchor = self._anchors[known]
            return f'<a class="{kind}" href="#{anchor}">{word}</a>'

        return markupsafe.Markup(self._pattern.sub(link, str(markupsafe.escape(printable(text)))))


def linker_of(view: View) -> Callable[[str], markupsafe.Markup]:
    """The linker of a report's own words."""
    anchors: dict[str, tuple[str, str]] = {}
    for term in reversed(view.glossary):  # a term wins over a checker of the same name
        if term.anchor.startswith("checker-") and "_" not in term.name:
            anchors |= {f"{before} {term.name}": ("term", term.anchor) for before in ("fails", "checker")}
        elif term.name not in COMMON:
            anchors[term.name] = ("term", term.anchor)
    anchors |= {row.name: ("place", f"s-{row.name}") for row in view.rows}
    return Linker(anchors)

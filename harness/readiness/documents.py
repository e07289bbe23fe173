"""Examines a folder of documents: do they name every command and option, and do their links lead to files?

Knows nothing of the content: a named option may still be explained badly.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from poolproof.harness.readiness.checklist import Documents
from poolproof.migration.plan import Guardrails, Plan, field_names

GUIDE = "migration-guide.md"


def examine_documents(folder: Path, commands: Iterable[str]) -> Documents | None:
    """Check that the guide names every command of `poolproof migrate` and every option; None if there is no guide.

    Every page's links must lead to a file, and every `poolproof migrate …` that it shows must be one of `commands`.
    """
    guide = folder / GUIDE
    if not guide.is_file():
        return None
    known = set(commands)
    text = guide.read_text()
    wanted = {f"migrate {command}" for command in known} | {*field_names(Plan), *field_names(Guardrails)}
    problems = [f"{GUIDE} does not name {word}" for word in sorted(wanted) if word not in text]
    looked_for = len(wanted)
    pages = sorted(folder.glob("*.md"))
    for page in pages:
        text = page.read_text()
        shown = re.findall(r"^\$ poolproof migrate ([a-z]+)", text, flags=re.MULTILINE)
        links = [link for link in re.findall(r"\]\(([^)#\s]+)\)", text) if "://" not in link]
        looked_for += len(shown) + len(links)
        problems += [f"{page.name} shows `poolproof migrate {word}`" for word in shown if word not in known]
        problems += [f"{page.name} links to {link}" for link in links if not (page.parent / link).exists()]
    return Documents(pages=len(pages), looked_for=looked_for, problems=tuple(problems))

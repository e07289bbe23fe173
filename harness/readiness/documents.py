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
    """Check that the migration guide names every command of `poolproof migrate` and every option of a migration.

    The guide is the file `migration-guide.md` in `folder` or below it. Returns None if there is no such file.
    In every page, links must lead to files, and every `poolproof migrate …` that is shown must be one of `commands`.
    """
    guide = next(iter(sorted(folder.rglob(GUIDE))), None)
    if guide is None:
        return None
    known = set(commands)
    text = guide.read_text()
    wanted = {f"migrate {command}" for command in known} | {*field_names(Plan), *field_names(Guardrails)}
    problems = [f"{GUIDE} does not name {word}" for word in sorted(wanted) if word not in text]
    looked_for = len(wanted)
    pages = sorted(folder.rglob("*.md"))
    for page in pages:
        text = page.read_text()
        shown = re.findall(r"^\$ poolproof migrate ([a-z]+)", text, flags=re.MULTILINE)
        links = [link for link in re.findall(r"\]\(([^)#\s]+)\)", text) if "://" not in link]
        looked_for += len(shown) + len(links)
        problems += [f"{page.name} shows `poolproof migrate {word}`" for word in shown if word not in known]
        problems += [f"{page.name} links to {link}" for link in links if not (page.parent / link).exists()]
    return Documents(pages=len(pages), looked_for=looked_for, problems=tuple(problems))

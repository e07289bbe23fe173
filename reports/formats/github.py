"""Output for a GitHub job: a Markdown summary, and an annotation for each reason against the candidate.

Writes only if the job's environment variables ask for it. Workflow commands are escaped, so a worker's text cannot
become a command.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from poolproof.bridge.safe_text import one_line
from poolproof.harness.model.errors import UsageError
from poolproof.harness.model.verdict import Decision
from poolproof.reports.formats.render import render_markdown
from poolproof.reports.sections.section import Tone
from poolproof.reports.view import View

MOST_ANNOTATIONS = 10
"""GitHub shows at most this many annotations of one kind for a step."""


def publish(view: View, environment: Mapping[str, str], stream: TextIO) -> None:
    """Append to $GITHUB_STEP_SUMMARY if it is set; write annotations to `stream` if $GITHUB_ACTIONS is "true".

    Raises UsageError if the summary cannot be written.
    """
    summary = environment.get("GITHUB_STEP_SUMMARY")
    if summary:
        try:
            with Path(summary).open("a", encoding="utf-8") as file:
                file.write(render_markdown(view) + "\n")
        except OSError as error:
            raise UsageError(f"cannot write to GITHUB_STEP_SUMMARY {summary}: {error.strerror}") from error
    if environment.get("GITHUB_ACTIONS") == "true":
        stream.writelines(f"{line}\n" for line in workflow_commands(view))


def workflow_commands(view: View) -> list[str]:
    """The annotations: one for the decision, one for each cell that fails or is in doubt, errors first."""
    kind = {Decision.SAFE: "notice", Decision.INCONCLUSIVE: "warning", Decision.UNSAFE: "error"}[view.source.decision]
    lines = [_command(kind, f"poolproof: {view.decision}", f"{view.headline} {view.lead}")]
    found = [
        (cell.tone, f"{row.name} on {cell.pool}: {cell.word}", f"{cell.note}\nto run it again: {cell.replay}")
        for row in view.rows
        for cell in row.cells
        if cell.tone in (Tone.BAD, Tone.DOUBT)
    ]
    found.sort(key=lambda one: one[0] is not Tone.BAD)
    lines += [
        _command("error" if tone is Tone.BAD else "warning", title, text)
        for tone, title, text in found[: MOST_ANNOTATIONS - 1]
    ]
    left = len(found) - (MOST_ANNOTATIONS - 1)
    if left > 0:
        lines.append(_command("warning", "poolproof", f"{left} more annotations are in the report"))
    return lines


def _command(kind: str, title: str, text: str) -> str:
    return f"::{kind} title={_escape(title, ':,')}::{_escape(text)}"


def _escape(text: str, more: str = "") -> str:
    for sign in "%\r\n" + more:
        text = text.replace(sign, f"%{ord(sign):02X}")
    return one_line(text)

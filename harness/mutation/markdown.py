"""The kill matrix as Markdown.

Pure: a matrix in, text out.
"""

from __future__ import annotations

from poolproof.bridge.safe_text import escape_markdown
from poolproof.harness.mutation.matrix import FalseAlarm, KillMatrix, Row, way_text

MOST_KILLERS = 4


def as_markdown(matrix: KillMatrix) -> str:
    """The whole matrix: a summary, a row for each mutant and for each guarantee, and every false alarm."""
    lines = [
        "# Kill matrix",
        "",
        f"Profile {matrix.profile}, seeds {', '.join(map(str, matrix.seeds))}, {len(matrix.cells)} runs, "
        f"{matrix.duration_s:.0f} s.",
        "",
        *(f"- {sentence}" for sentence in sentences(matrix)),
        "",
        "| mutant | breaks | killed | by |",
        "|---|---|---|---|",
        *(f"| {' | '.join(map(escape_markdown, row_text(row)))} |" for row in matrix.rows),
        "",
        "| guarantee | mutants that show it |",
        "|---|---|",
        *(f"| {name} | {', '.join(killed) or '**none**'} |" for name, killed in matrix.guarantees.items()),
        *(f"| fix: {name} | {', '.join(killed) or '**none**'} |" for name, killed in matrix.fixes.items()),
    ]
    for title, items in (
        ("False alarms", [alarm_text(alarm) for alarm in matrix.false_alarms]),
        ("Runs of correct pools that could not be decided", list(matrix.undecided)),
        ("Declared weaknesses that no run showed", list(matrix.unseen)),
    ):
        if items:
            lines += ["", f"## {title}", "", *(f"- {escape_markdown(item)}" for item in items)]
    return "\n".join(lines) + "\n"


def sentences(matrix: KillMatrix) -> list[str]:
    """The summary of the matrix, most important first."""
    accused = round(matrix.false_alarm_rate * matrix.good_runs)
    shown = sum(map(bool, matrix.guarantees.values()))
    said = [
        f"detection: {matrix.detection_rate:.1%} of {len(matrix.rows)} mutants "
        f"({matrix.lowest_detection_rate:.1%} with the worst of {len(matrix.seeds)} seeds)",
        f"found by a checker of a guarantee that the mutant breaks: {sum(row.by_its_guarantee for row in matrix.rows)}",
        f"false alarms: {accused} of {matrix.good_runs} runs of correct pools ({matrix.false_alarm_rate:.1%})",
        f"guarantees for which a mutant was found: {shown} of {len(matrix.guarantees)}; "
        f"fixes: {sum(map(bool, matrix.fixes.values()))} of {len(matrix.fixes)}",
    ]
    said += [f"shortcoming: {text}" for text in matrix.shortcomings]
    if matrix.undecided:
        said.append(f"{len(matrix.undecided)} runs of correct pools could not be decided")
    if matrix.unseen:
        said.append(f"declared weaknesses that no run showed: {', '.join(matrix.unseen)}")
    return said


def killers_text(row: Row) -> str:
    """The checkers that killed the mutant, and why it survived with other seeds."""
    names = list(row.killers)[:MOST_KILLERS]
    more = len(row.killers) - len(names)
    text = ", ".join(names) + (f" and {more} more" if more else "")
    if row.survived:
        text += f"{'; ' if text else ''}survived seed {', '.join(map(str, row.survived))}: {row.why}"
    return text


def row_text(row: Row) -> tuple[str, str, str, str]:
    """One mutant: its name and face, the guarantees it breaks, the seeds that killed it, and its killers."""
    name = f"{row.pool}.{row.mutant}{way_text(row.face, observed=row.observed)}"
    return name, " ".join(row.breaks), f"{row.killed}/{row.seeds}", killers_text(row)


def alarm_text(alarm: FalseAlarm) -> str:
    """The accused good pool, the checker and its claim, in one line."""
    pool = f"{alarm.pool}.{alarm.equivalent}" if alarm.equivalent else alarm.pool
    way = way_text(alarm.face, observed=alarm.observed)
    return f"{alarm.scenario} on {pool}{way}, seed {alarm.seed}: {alarm.checker}: {alarm.claim}"

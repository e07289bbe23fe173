"""A hunt as Markdown, and its tables and sentences for the terminal.

Pure: a hunt in, text out.
"""

from __future__ import annotations

from poolproof.bridge.safe_text import escape_markdown
from poolproof.harness.mutation.generated.hunted import Hunt, Hunted, Outcome, Tally

COLUMNS = ("killed", "timeout", "undecided", "survived", "equivalent", "detected", "not executed")


def as_markdown(hunt: Hunt) -> str:
    """The whole hunt: a summary, tables by package, operator and killer, and every mutant that was not killed."""
    lines = ["# Generated mutants", "", *(f"- {sentence}" for sentence in sentences(hunt)), ""]
    for of in ("package", "operator"):
        lines += _table((of, *COLUMNS), [tally_text(tally) for tally in hunt.tallies(of)])
    lines += _table(("killer", "tried", "killed", "timeouts", "undecided"), killer_rows(hunt))
    for outcome in (Outcome.SURVIVED, Outcome.UNDECIDED, Outcome.TIMEOUT, Outcome.EQUIVALENT):
        found = hunt.having(outcome)
        if found:
            lines += [f"## {outcome.value.capitalize()}", ""]
            for mutant in found:
                lines += _describe(mutant)
    killed = hunt.having(Outcome.KILLED)
    if killed:
        lines += ["## Killed", ""]
        lines += _table(("mutant", "change", "by"), [mutant_text(mutant) for mutant in killed])
    for title, items in (("Equivalents that fit no place any more", hunt.stale), ("Passed over", hunt.passed_over)):
        if items:
            lines += [f"## {title}", "", *(f"- {escape_markdown(item)}" for item in items), ""]
    return "\n".join(lines).rstrip() + "\n"


def sentences(hunt: Hunt) -> list[str]:
    """The summary, most important first."""
    whole = hunt.tallies("package")[-1]
    share = whole.not_executed / whole.places if whole.places else 0.0
    detected = whole.detected
    said = [
        f"detected: {detected.count} of {detected.total} planted mutants ({_interval(whole)}); {whole.killed} killed, "
        f"{whole.timeouts} did not end in time, {whole.undecided} left something undecided, {whole.survived} survived",
        f"not executed: {whole.not_executed} of {whole.places} places ({share:.1%}) are on lines that none of "
        f"{hunt.survey_runs} runs of the comparison executes",
        f"seed {hunt.seed}, sources {hunt.sources}, profile {hunt.profile}, packages {', '.join(hunt.packages)}; "
        f"{hunt.duration_s:.0f} s",
    ]
    if len(hunt.planted) < hunt.asked:
        said.append(f"only {len(hunt.planted)} of {hunt.asked} mutants could be planted")
    if not hunt.fenced:
        said.append("without a process namespace: places that end processes or delete files were passed over")
    absent = {attack.killer for mutant in hunt.mutants for attack in mutant.attacks if attack.outcome is Outcome.ABSENT}
    said += [f"not tried: the killer {name} is not installed" for name in sorted(absent)]
    said += [f"stale equivalent: {entry}" for entry in hunt.stale]
    return said


def tally_text(tally: Tally) -> tuple[str, ...]:
    """One group's outcomes, the detected share with its interval, and the share of places that no run executes."""
    numbers = (tally.killed, tally.timeouts, tally.undecided, tally.survived, tally.equivalent)
    return tally.group, *map(str, numbers), _interval(tally), f"{tally.not_executed}/{tally.places}"


def killer_rows(hunt: Hunt) -> list[tuple[str, ...]]:
    """For each killer: how many mutants it tried, and how many it killed, left undecided or did not see end."""
    rows = []
    for name in hunt.killers:
        outcomes = [attack.outcome for mutant in hunt.mutants for attack in mutant.attacks if attack.killer == name]
        tried = len(outcomes) - outcomes.count(Outcome.ABSENT)
        counted = (Outcome.KILLED, Outcome.TIMEOUT, Outcome.UNDECIDED)
        rows.append((name, str(tried), *(str(outcomes.count(outcome)) for outcome in counted)))
    return rows


def mutant_text(mutant: Hunted) -> tuple[str, str, str]:
    """One mutant: its name, the change, and what decided its outcome."""
    killer = mutant.killer
    return mutant.name, mutant.change, "" if killer is None else f"{killer.killer}: {killer.why}"


def _interval(tally: Tally) -> str:
    found = tally.detected
    return f"{found.count / found.total:.0%}, {found.low:.0%} to {found.high:.0%}" if found.total else "-"


def _describe(mutant: Hunted) -> list[str]:
    lines = [f"### {mutant.name}", "", "```diff", mutant.diff, "```", ""]
    if mutant.reason:
        return [*lines, mutant.reason, ""]
    tried = [
        f"{attack.killer}: {attack.outcome.value}"
        + (f" in {attack.runs} runs" if attack.runs else "")
        + (f" ({attack.why})" if attack.why else "")
        for attack in mutant.attacks
    ]
    return [*lines, f"{mutant.executed_by} runs execute it. " + "; ".join(map(escape_markdown, tried)), ""]


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    return [
        f"| {' | '.join(head)} |",
        "|" + "---|" * len(head),
        *(f"| {' | '.join(map(escape_markdown, row))} |" for row in rows),
        "",
    ]

"""The command `poolproof selfcheck --generated N`: hunts generated mutants, shows the result and stores it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console

from poolproof.harness.cli.output import Terminal, say_json
from poolproof.harness.cli.tables import show_table
from poolproof.harness.cli.terminal import Steps
from poolproof.harness.model.errors import UsageError
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.mutation.generated.draw import PACKAGES
from poolproof.harness.mutation.generated.hunt import hunt
from poolproof.harness.mutation.generated.hunted import Hunt, Outcome
from poolproof.harness.mutation.generated.killers import all_killers
from poolproof.harness.mutation.generated.page import COLUMNS, as_markdown, killer_rows, sentences, tally_text
from poolproof.harness.mutation.generated.survey import make_survey, plan_runs, read_sources, read_survey
from poolproof.harness.run.runner import Request
from poolproof.harness.run.store import write_whole

HUNT_FILE = "generated-mutants.json"
PAGE_FILE = "generated-mutants.md"
MOST_MUTANTS = 10_000
MOST_RUNS = 50
"""The default number of runs of the comparison that a mutant must pass unnoticed to count as survived."""


def run_generated(
    request: Request,
    out: Path,
    *,
    count: int,
    packages: Sequence[str] = (),
    survey_folder: Path | None = None,
    every_killer: bool = False,
    most_runs: int | None = MOST_RUNS,
    jobs: int,
    quiet: bool = False,
    as_json: bool = False,
) -> Hunt:
    """Plant `count` mutants drawn with the request's seed in `packages` (default: all), and store the results in `out`.

    `survey_folder` holds a survey of an earlier call with the same sources, profile and seed. The comparison makes at
    most `most_runs` runs for a mutant (None: all that execute its place). Raises UsageError for a bad option.
    """
    if not 1 <= count <= MOST_MUTANTS:
        raise UsageError(f"--generated {count}: a whole number from 1 to {MOST_MUTANTS}")
    for package in packages:
        if package not in PACKAGES:
            raise UsageError(f"--package {package!r}: one of {', '.join(PACKAGES)}")
    planned = plan_runs(request)
    sources = read_sources()
    if survey_folder is not None:
        survey = read_survey(survey_folder, request)
    else:
        with Steps(Terminal(stderr=True), quiet=quiet) as steps:
            steps.planned(len(planned))
            survey = make_survey(planned, request, out / "survey", jobs=jobs, progress=steps)
    with Steps(Terminal(stderr=True), quiet=quiet) as steps:
        found = hunt(
            sources,
            survey,
            planned,
            all_killers(request.seed, most_runs),
            out / "runs",
            count=count,
            seed=request.seed,
            packages=tuple(dict.fromkeys(packages)) or PACKAGES,
            jobs=jobs,
            progress=steps,
            every_killer=every_killer,
        )
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / HUNT_FILE, msgspec.json.format(msgspec.json.encode(found)))
    write_whole(out / PAGE_FILE, as_markdown(found).encode())
    if as_json:
        say_json(found)
    else:
        show_hunt(Terminal(), found, out / PAGE_FILE)
    return found


def verdict_of(found: Hunt) -> Verdict:
    """FAIL if a mutant survived, or an argued equivalent is stale; UNKNOWN if one is undecided or none was planted."""
    if found.having(Outcome.SURVIVED) or found.stale:
        return Verdict.FAIL
    return Verdict.UNKNOWN if found.having(Outcome.UNDECIDED) or not found.planted else Verdict.PASS


def show_hunt(console: Console, found: Hunt, kept: Path) -> None:
    """Show the tables, every mutant that survived with its diff and what was tried, and the summary."""
    for of in ("operator", "package"):
        show_table(console, (of, *COLUMNS), [tally_text(tally) for tally in found.tallies(of)])
    show_table(console, ("killer", "tried", "killed", "timeouts", "undecided"), killer_rows(found))
    lines = []
    for mutant in found.having(Outcome.SURVIVED):
        tried = ", ".join(attack.killer for attack in mutant.attacks if attack.outcome is not Outcome.ABSENT)
        lines += [f"survived: {mutant.name} (tried: {tried})", *mutant.diff.splitlines()[2:]]
    for line in (*lines, *sentences(found), f"all of it: {kept}"):
        console.print(line, markup=False, highlight=False, soft_wrap=True)

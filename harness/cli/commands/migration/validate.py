"""The command `poolproof migrate validate`: the checklist before a migration. Entry point."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from poolproof.harness.cli.commands.migration.migrate import as_usage
from poolproof.harness.cli.commands.options import (
    JOBS,
    OF_VERDICT,
    POOL_HELP,
    AsJson,
    Clients,
    Jobs,
    Keeping,
    Out,
    Profile,
    ProfileOption,
    Quiet,
    Scenarios,
    Seed,
    Workers,
    new_folder,
    this_command,
)
from poolproof.harness.cli.commands.requests import build_request
from poolproof.harness.cli.output import Terminal, say_json
from poolproof.harness.cli.terminal import STYLES, Steps
from poolproof.harness.compare.catalogue import find_scenarios
from poolproof.harness.model.errors import UsageError
from poolproof.harness.readiness.renderer import render_checklist
from poolproof.harness.readiness.validate import validate
from poolproof.harness.run.job import start_job
from poolproof.harness.subjects.named import Named
from poolproof.harness.subjects.pools import find_pool
from poolproof.migration.config import load_plan
from poolproof.reports import write_reports

CHECKLIST_FILE = "checklist.md"
MIGRATE_COMMANDS = (
    *("status", "start", "shadow", "canary", "promote", "rollback"),
    *("pause", "resume", "finish", "log", "validate"),
)
"""Every command of `poolproof migrate`, which the guide must name."""


@as_usage
def validate_command(
    scenarios: Scenarios = None,
    baseline: Annotated[str, typer.Option(metavar="POOL", help=f"The pool to be replaced: {POOL_HELP}.")] = "v1",
    candidate: Annotated[
        str, typer.Option(metavar="POOL", help="The new pool, which is to replace the baseline.")
    ] = "v2",
    soak_s: Annotated[
        float,
        typer.Option(
            help="How long the soak (a continuous load) lasts on each pool, 1 to 86400 s; 0 leaves the soak out."
        ),
    ] = 10.0,
    docs: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="A folder with a copy of poolproof's migration guide, to check against the commands and options.",
        ),
    ] = None,
    no_docs: Annotated[bool, typer.Option("--no-docs", help="Check no documents, which is the default.")] = False,
    seed: Seed = 1,
    workers: Workers = 4,
    clients: Clients = 8,
    jobs: Jobs = JOBS,
    profile: ProfileOption = Profile.QUICK,
    out: Out = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Carry out the checklist of the migration guide on both pools and on your plan, and write checklist.md.

    A line that was not carried out does not count as passed. Exit codes: as for `poolproof compare`.
    """
    if soak_s and not 1 <= soak_s <= 86_400:
        raise UsageError(f"--soak-s {soak_s}: 0, or a number from 1 to 86400")
    if docs is not None and (no_docs or not docs.is_dir()):
        raise UsageError(f"--docs {docs}: {'--no-docs leaves them out' if no_docs else 'there is no such folder'}")
    found = find_scenarios(scenarios or [], profile=profile, named=Named(scenarios or ()))
    one, other = find_pool(baseline), find_pool(candidate)
    request = build_request(found, seed, workers, clients, jobs, profile, None)
    folder = out or new_folder("validate")
    with Keeping(folder), Steps(Terminal(stderr=True), quiet=quiet) as steps:
        checklist, comparison = validate(
            found,
            one,
            other,
            request,
            folder,
            jobs=jobs,
            start_job=start_job,
            progress=steps,
            soak_s=soak_s,
            docs=docs,
            plan=load_plan(),
            commands=MIGRATE_COMMANDS,
            command=this_command(),
        )
        report = write_reports(comparison, folder)["html"]
    checklist = msgspec.structs.replace(checklist, report=str(report))
    page = folder / CHECKLIST_FILE
    page.write_text(render_checklist(checklist))
    if as_json:
        say_json(checklist)
    else:
        console = Terminal()
        for item in checklist.items:
            style = STYLES.get("unknown" if not item.ran else item.word, "")
            console.print(f"{item.word:<8}", style=style, end=" ")
            console.print(f"{item.name}: {item.evidence}", markup=False, highlight=False, soft_wrap=True)
        word = checklist.verdict.value
        console.print(f"{word.upper()}: {other.name} replacing {one.name}", style=STYLES[word], highlight=False)
        console.print(f"page: {page}", markup=False, highlight=False, soft_wrap=True)
    return OF_VERDICT[checklist.verdict]

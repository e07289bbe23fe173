"""Commands of a migration: its status, its steps forward and back, and the checklist before it. Entry point.

They change the state file; the applications that share the file follow within a fraction of a second.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, ParamSpec

import msgspec
import typer

from poolproof.bridge import ConfigError
from poolproof.bridge.redaction import redact_words
from poolproof.harness.cli.commands.options import (
    JOBS,
    OF_VERDICT,
    POOL_HELP,
    AsJson,
    Clients,
    Exit,
    Jobs,
    Keeping,
    Out,
    Profile,
    ProfileOption,
    Quiet,
    Scenarios,
    Seed,
    Workers,
    build_request,
    new_folder,
)
from poolproof.harness.cli.output import Terminal, say, say_json, warn
from poolproof.harness.cli.terminal import STYLES, Steps, show_table
from poolproof.harness.compare.catalogue import find_scenarios
from poolproof.harness.model.errors import UsageError
from poolproof.harness.readiness.renderer import render_checklist
from poolproof.harness.readiness.validate import validate
from poolproof.harness.run.job import start_job
from poolproof.harness.subjects.named import Named
from poolproof.harness.subjects.pools import find_pool
from poolproof.migration.config import load_plan
from poolproof.migration.plan import Mode, Plan, Position
from poolproof.migration.state import Entry, StateFile, whoami
from poolproof.reports import write_reports

DEFAULT_STATE = "poolproof-migration.json"
CHECKLIST_FILE = "checklist.md"

app = typer.Typer(
    help="Switch a running application from pool v1 to pool v2 step by step, and back.", no_args_is_help=True
)
State = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="The migration's state file. Default: the one configured in the current folder, "
        f"otherwise {DEFAULT_STATE}.",
    ),
]
Why = Annotated[str, typer.Option(help="The reason for the change; the log keeps it.")]
Who = Annotated[str, typer.Option(help="Who makes the change; the log keeps it. Default: user, host and process.")]
P = ParamSpec("P")


def _usage(command: Callable[P, int]) -> Callable[P, int]:
    # Invalid content of a file or an option raises ConfigError; the command line reports it as a usage error.
    @wraps(command)
    def wrapped(*args: P.args, **options: P.kwargs) -> int:
        try:
            return command(*args, **options)
        except ConfigError as error:
            raise UsageError(str(error)) from error

    return wrapped


@app.command("status")
@_usage
def status_command(state: State = None, as_json: AsJson = False) -> int:
    """Show the current step of the migration.

    Exit code 1 if the state file cannot be read; applications then use v1.
    """
    file, plan = _open(state)
    entry = file.read()
    if entry is None:
        raise UsageError(f"there is no {file.path}: no migration has begun; `poolproof migrate start` begins one")
    if as_json:
        say_json(entry)
    elif entry.trouble:
        warn(f"poolproof: {entry.trouble}; applications use v1 meanwhile")
    else:
        following = plan.next_step(entry.position)
        say(f"{entry.position}, number {entry.sequence}, since {entry.at} by {entry.who}: {entry.why}")
        say("there is no next step" if following is None else f"next: {following}")
    return Exit.BAD if entry.trouble else Exit.GOOD


@app.command("start")
@_usage
def start_command(state: State = None, why: Why = "begun", who: Who = "") -> int:
    """Begin the migration with shadow mode: v1 serves every call, v2 gets copies of the idempotent calls.

    Possible only while v1 serves everything.
    """
    file, _ = _open(state)
    entry = file.read()
    if entry is not None and entry.mode is not Mode.V1:
        raise UsageError(
            f"the migration stands at {entry.position} already; `poolproof migrate promote` takes "
            "the next step, `rollback` returns to v1"
        )
    return _change(file, entry, Position(Mode.SHADOW), why, who)


@app.command("shadow")
@_usage
def shadow_command(state: State = None, why: Why = "shadow mode requested on the command line", who: Who = "") -> int:
    """Switch to shadow mode: v1 serves every call, v2 gets copies of the idempotent calls."""
    file, _ = _open(state)
    return _change(file, file.read(), Position(Mode.SHADOW), why, who)


@app.command("canary")
@_usage
def canary_command(
    percent: Annotated[
        int, typer.Argument(help="The percentage of calls and of new sessions that v2 serves, 1 to 100.")
    ],
    state: State = None,
    why: Why = "this percentage was requested on the command line",
    who: Who = "",
) -> int:
    """Let v2 serve PERCENT % of the calls and of the new sessions, and v1 the rest."""
    file, _ = _open(state)
    return _change(file, file.read(), Position.canary(percent), why, who)


@app.command("promote")
@_usage
def promote_command(state: State = None, why: Why = "promoted", who: Who = "") -> int:
    """Take the next step of the plan: shadow, then each canary percentage in turn, then v2 for everything."""
    file, plan = _open(state)
    entry = file.read()
    if entry is not None and entry.trouble:
        raise UsageError(f"{entry.trouble}; applications use v1 meanwhile, and the next step is unknown")
    following = plan.next_step(Position() if entry is None else entry.position)
    if following is None:
        raise UsageError("v2 serves everything already; there is no next step")
    return _change(file, entry, following, why, who)


@app.command("rollback")
@_usage
def rollback_command(state: State = None, why: Why = "rolled back", who: Who = "") -> int:
    """Return to v1 for everything, whatever the current step is."""
    file, _ = _open(state)
    entry = file.write(Position(), who=who or whoami(), why=why)
    return _tell(entry)


@app.command("log")
@_usage
def log_command(state: State = None, as_json: AsJson = False) -> int:
    """List every change of the migration, oldest first, with who made it, when and why."""
    file, _ = _open(state)
    changes = file.log()
    if as_json:
        say_json(changes)
        return Exit.GOOD
    rows = [(str(c.sequence), c.at, c.before, c.after, c.who, c.why) for c in changes]
    show_table(Terminal(), ("number", "at", "before", "after", "who", "why"), rows)
    return Exit.GOOD


@app.command("validate")
@_usage
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
            metavar="DIR", help="The folder of documents to check against the commands and options. Default: docs."
        ),
    ] = None,
    no_docs: Annotated[bool, typer.Option("--no-docs", help="Do not check any documents.")] = False,
    seed: Seed = 1,
    workers: Workers = 4,
    clients: Clients = 8,
    jobs: Jobs = JOBS,
    profile: ProfileOption = Profile.QUICK,
    out: Out = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Carry out the checklist of the migration guide on both pools, and write checklist.md.

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
            docs=None if no_docs else docs or Path("docs"),
            commands=[command.name or "" for command in app.registered_commands],
            command=shlex.join(redact_words(["poolproof", *sys.argv[1:]])),
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


def _open(state: Path | None) -> tuple[StateFile, Plan]:
    plan = load_plan()
    file = StateFile(state or plan.state_file or DEFAULT_STATE)
    if not file.path.parent.is_dir():
        raise UsageError(f"--state {state or plan.state_file}: there is no folder {file.path.parent}")
    return file, plan


def _change(file: StateFile, entry: Entry | None, position: Position, why: str, who: str) -> int:
    if not why.strip():
        raise UsageError("--why '': a change of a migration needs a reason")
    expected = 0 if entry is None else entry.sequence
    return _tell(file.write(position, who=who or whoami(), why=why, expected=expected))


def _tell(entry: Entry) -> int:
    say(f"{entry.position}, number {entry.sequence}")
    return Exit.GOOD

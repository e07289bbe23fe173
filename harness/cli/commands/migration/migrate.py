"""Commands of a migration: its status, its steps forward and back, and the checklist before it. Entry point.

Applications and commands find the state by the same rule (poolproof.migration.followers.place). A command that changes
the state names the processes that follow it, and ends when all of them apply the change.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, ParamSpec

import msgspec
import typer

from poolproof.bridge import ConfigError
from poolproof.harness.cli.commands.options import AsJson, Exit
from poolproof.harness.cli.output import Terminal, say, say_json, warn
from poolproof.harness.cli.tables import show_table
from poolproof.harness.model.errors import UsageError
from poolproof.migration.config import load_plan
from poolproof.migration.control import LOADED
from poolproof.migration.followers.place import state_path
from poolproof.migration.followers.record import set_by
from poolproof.migration.followers.steering import Outcome, Refused, Steering, Survey
from poolproof.migration.plan import DEFAULT_NAME, Position
from poolproof.migration.state import Change, Entry, StateError, StateFile, never_in_effect

LONGEST_WAIT_S = 3600.0

P = ParamSpec("P")
app = typer.Typer(
    help="Switch a running application from pool v1 to pool v2 step by step, and back.", no_args_is_help=True
)
State = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="The migration's state file. Default: the one configured by the environment or in the current folder, "
        "otherwise the file of the migration's name.",
    ),
]
Name = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="The migration's name, in place of a state file. Default: the configured one, otherwise "
        f"{DEFAULT_NAME!r}. Its state file is ~/.local/state/poolproof/migrations/NAME.json.",
    ),
]
Why = Annotated[str, typer.Option(help="The reason for the change; the log keeps it.")]
Who = Annotated[str, typer.Option(help="Who makes the change; the log keeps it. Default: user, host and process.")]
Wait = Annotated[
    float,
    typer.Option(
        "--wait", metavar="SECONDS", help="How long to wait until all processes apply the change, 0 to 3600 s."
    ),
]
Unfollowed = Annotated[
    bool,
    typer.Option("--unfollowed", help="Change the state even if no process follows it, or one is behind."),
]


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What `status --json` prints. `followed`: every living follower applies the position, or what its flag says.

    `flag` is the flag that sets the position, if one does. Then the fields of the state file are empty, unless a
    process follows it: what is applied is in the record of each follower.
    """

    path: str
    sequence: int
    position: str
    who: str
    at: str
    why: str
    paused: str
    finished: bool
    trouble: str
    followed: bool
    flag: str
    survey: Survey


def as_usage(command: Callable[P, int]) -> Callable[P, int]:
    """Report invalid content of a file or an option, and a change that is refused, as a usage error."""

    @wraps(command)
    def wrapped(*args: P.args, **options: P.kwargs) -> int:
        try:
            return command(*args, **options)
        except (ConfigError, StateError) as error:
            raise UsageError(str(error)) from error

    return wrapped


@app.command("status")
@as_usage
def status_command(state: State = None, name: Name = "", as_json: AsJson = False) -> int:
    """Show the current step of the migration, and the position and calls of each process that follows it.

    Exit code 1 if the state file cannot be read; 3 if no process follows it, or if one does not apply it. Where a flag
    sets the position: 3 if a process does not apply what the flag says.
    """
    steering = _open(state, name)
    found = steering.survey()
    flag = steering.flag(found)
    entry = found.entry
    if not found.living and (entry is None or flag):
        raise UsageError(steering.not_begun(found))
    if flag and not found.by_file:
        entry = None
    if as_json:
        say_json(_status(steering, found, flag, entry))
    elif flag:
        say(f"the position is set by {flag}")
    if not as_json:
        if found.by_file:
            _tell_state(steering, found)
        elif found.entry is not None:
            say(f"{steering.file.path} is there, but no process follows it")
        _tell_followers(steering, found)
    if entry is not None and entry.trouble:
        return Exit.BAD
    return Exit.GOOD if found.followed else Exit.UNDECIDED


def _tell_state(steering: Steering, found: Survey) -> None:
    entry = found.entry
    if entry is None:
        say(f"no migration has begun: there is no {steering.file.path}; `poolproof migrate start` begins one")
    elif entry.trouble:
        warn(f"poolproof: {entry.trouble}; each process keeps its last position")
    else:
        following = steering.next_step(found)
        note = f"; paused: {entry.paused}" if entry.paused else "; finished" if entry.finished else ""
        say(f"{entry.position}, number {entry.sequence}, since {entry.at} by {entry.who}: {entry.why}{note}")
        say("there is no next step" if following is None or entry.finished else f"next: {following}")
    for change in _interrupted(steering.file, entry):
        say(
            f"the change number {change.sequence} to {change.after} by {change.who} ({change.why}) never took "
            "effect: its writer was killed"
        )


@app.command("start")
@as_usage
def start_command(
    state: State = None,
    name: Name = "",
    why: Why = "begun",
    who: Who = "",
    wait_s: Wait = 10.0,
    unfollowed: Unfollowed = False,
) -> int:
    """Begin the migration with shadow mode: v1 serves every call, v2 gets copies of the idempotent calls.

    Possible only while v1 serves everything.
    """
    return _change(state, name, wait_s, unfollowed, lambda steering: steering.start(why, who))


@app.command("shadow")
@as_usage
def shadow_command(
    state: State = None,
    name: Name = "",
    why: Why = "shadow mode requested on the command line",
    who: Who = "",
    wait_s: Wait = 10.0,
    unfollowed: Unfollowed = False,
) -> int:
    """Switch to shadow mode: v1 serves every call, v2 gets copies of the idempotent calls."""
    position = Position.parse("shadow")
    return _change(state, name, wait_s, unfollowed, lambda steering: steering.move(position, why, who))


@app.command("canary")
@as_usage
def canary_command(
    percent: Annotated[
        int, typer.Argument(help="The percentage of calls and of new sessions that v2 serves, 1 to 100.")
    ],
    state: State = None,
    name: Name = "",
    why: Why = "this percentage was requested on the command line",
    who: Who = "",
    wait_s: Wait = 10.0,
    unfollowed: Unfollowed = False,
) -> int:
    """Let v2 serve PERCENT % of the calls and of the new sessions, and v1 the rest."""
    position = Position.canary(percent)
    return _change(state, name, wait_s, unfollowed, lambda steering: steering.move(position, why, who))


@app.command("promote")
@as_usage
def promote_command(
    state: State = None,
    name: Name = "",
    why: Why = "promoted",
    who: Who = "",
    wait_s: Wait = 10.0,
    unfollowed: Unfollowed = False,
) -> int:
    """Take the next step of the plan: shadow, then each canary percentage in turn, then v2 for everything.

    Refused while a process does not apply the present step yet.
    """
    return _change(state, name, wait_s, unfollowed, lambda steering: steering.promote(why, who))


@app.command("rollback")
@as_usage
def rollback_command(
    state: State = None,
    name: Name = "",
    why: Why = "rolled back",
    who: Who = "",
    wait_s: Wait = 10.0,
    unfollowed: Unfollowed = False,
) -> int:
    """Return to v1 for everything, whatever the current step is."""
    return _change(state, name, wait_s, unfollowed, lambda steering: steering.roll_back(why, who))


@app.command("pause")
@as_usage
def pause_command(
    state: State = None,
    name: Name = "",
    why: Why = "paused on the command line",
    who: Who = "",
    wait_s: Wait = 10.0,
    unfollowed: Unfollowed = False,
) -> int:
    """Keep the current step, and allow no step that gives v2 more calls until `resume`."""
    return _change(state, name, wait_s, unfollowed, lambda steering: steering.pause(why, who))


@app.command("resume")
@as_usage
def resume_command(
    state: State = None,
    name: Name = "",
    why: Why = "resumed",
    who: Who = "",
    wait_s: Wait = 10.0,
    unfollowed: Unfollowed = False,
) -> int:
    """End a pause. The limits count anew from now on."""
    return _change(state, name, wait_s, unfollowed, lambda steering: steering.resume(why, who))


@app.command("finish")
@as_usage
def finish_command(
    state: State = None,
    name: Name = "",
    why: Why = "v2 serves for good",
    who: Who = "",
    wait_s: Wait = 10.0,
    unfollowed: Unfollowed = False,
) -> int:
    """Declare that v2 serves for good. Refused while a process is behind or has sessions on v1."""
    return _change(state, name, wait_s, unfollowed, lambda steering: steering.finish(why, who))


@app.command("log")
@as_usage
def log_command(state: State = None, name: Name = "", as_json: AsJson = False) -> int:
    """List every change of the migration, oldest first, with who made it, when and why."""
    steering = _open(state, name)
    changes = steering.file.log()
    if flag := steering.flag(steering.survey()):
        warn(f"poolproof: {set_by(flag)}, so its changes are recorded there; this is the log of the state file")
    if not changes and steering.file.read() is None:
        raise UsageError(f"there is no {steering.file.path}: no migration has begun, so there is no log")
    void = never_in_effect(changes, steering.file.read())
    if as_json:
        say_json([msgspec.structs.asdict(change) | {"in_effect": change.sequence not in void} for change in changes])
        return Exit.GOOD
    rows = [
        (str(c.sequence), c.at, c.before, c.after + " (never in effect)" * (c.sequence in void), c.who, c.why)
        for c in changes
    ]
    show_table(Terminal(), ("number", "at", "before", "after", "who", "why"), rows)
    return Exit.GOOD


def _open(state: Path | None, name: str, *, unfollowed: bool = False) -> Steering:
    if state is not None and name:
        raise UsageError(f"--state {state} and --name {name}: give one of the two")
    plan = load_plan(state_file=state, name=name)
    path = state_path(plan)
    assert path is not None, "a loaded plan has a place"
    file = StateFile(path)
    if plan.state_file is not None and not file.path.parent.is_dir():
        raise UsageError(f"--state {plan.state_file}: there is no folder {file.path.parent}")
    return Steering(file, plan, unfollowed=unfollowed)


def _change(state: Path | None, name: str, wait_s: float, unfollowed: bool, change: Callable[[Steering], Entry]) -> int:
    if not 0 <= wait_s <= LONGEST_WAIT_S:
        raise UsageError(f"--wait {wait_s}: must be a number of seconds from 0 to {LONGEST_WAIT_S:g}")
    steering = _open(state, name, unfollowed=unfollowed)
    try:
        entry = change(steering)
    except Refused as error:
        raise UsageError(str(error)) from error
    note = " paused" if entry.paused else " finished" if entry.finished else ""
    say(f"{entry.position}{note}, number {entry.sequence}, in {steering.file.path}")
    return _tell_outcome(steering, steering.wait(entry, wait_s))


def _tell_outcome(steering: Steering, outcome: Outcome) -> int:
    found = outcome.survey
    _tell_followers(steering, found)
    if outcome.replaced:
        entry = found.entry
        now = "it was removed" if entry is None else f"{entry.position}, number {entry.sequence}, by {entry.who}"
        warn(f"poolproof: the state has been changed again: {now}{'' if entry is None else f': {entry.why}'}")
        return Exit.UNDECIDED
    return Exit.GOOD if found.followed else Exit.UNDECIDED


def _tell_followers(steering: Steering, found: Survey) -> None:
    behind = found.behind
    for follower in found.followers:
        record = follower.record
        say(f"{'NOT FOLLOWING: ' if follower in behind else ''}{follower.describe()}")
        if follower in found.living:
            if record.trouble:
                warn(f"poolproof: {record.who}: {record.trouble}")
            if record.breach:
                warn(f"poolproof: {record.who}: the last breach of a limit: {record.breach}")
            if record.load > LOADED:
                warn(
                    f"poolproof: {record.host} is loaded: {record.load:.1f} processes want each processor, so "
                    "latencies also measure the machine"
                )
    if not found.living:
        warn(f"poolproof: {steering.nobody(found)}, so no call is served by this state")
    else:
        say(f"{len(found.living) - len(behind)} of {len(found.living)} processes follow")


def _interrupted(file: StateFile, entry: Entry | None) -> list[Change]:
    # The changes after the present one that have not taken effect.
    if entry is None or entry.trouble:
        return []
    with contextlib.suppress(StateError):
        return [change for change in file.log() if change.sequence > entry.sequence]
    return []


def _status(steering: Steering, found: Survey, flag: str, active: Entry | None) -> Status:
    entry = active or Entry(sequence=0, mode=Position().mode)
    return Status(
        path=str(steering.file.path),
        sequence=entry.sequence,
        position="" if entry.trouble or active is None else str(entry.position),
        who=entry.who,
        at=entry.at,
        why=entry.why,
        paused=entry.paused,
        finished=entry.finished,
        trouble=entry.trouble,
        followed=found.followed,
        flag=flag,
        survey=found,
    )

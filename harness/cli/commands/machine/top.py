"""The command `top`: what the living pools of this machine are doing, asked again and again."""

from __future__ import annotations

import itertools
import sys
import time
from contextlib import nullcontext
from typing import Annotated

import msgspec
import typer
from rich.live import Live

from poolproof.bridge.interface import PoolFigures
from poolproof.bridge.processes.rundir.asking import Answered, ask_pools
from poolproof.harness.cli.commands.options import AsJson, Exit
from poolproof.harness.cli.output import Terminal, say_json
from poolproof.harness.cli.tables import make_table, show_table
from poolproof.harness.model.errors import UsageError

COLUMNS = ("pool", "owner", "state", "workers", "waiting", "calls/s", "p50", "p99", "sessions", "failed", "failed/s")
SHORTEST_S, LONGEST_S = 0.1, 3600.0
ANSWERED = ("result", "CommandError")
"""The outcomes of calls that a worker has answered; every other outcome counts as failed."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One pool at one moment. Rates are per second since the moment before, None at the first; times in seconds.

    `why` says why there are no figures. `failed` counts calls that ended in another way than by a worker's answer.
    """

    name: str
    owner_pid: int
    why: str = ""
    state: str = ""
    target: int = 0
    workers: dict[str, int] = {}
    waiting: int = 0
    in_flight: int = 0
    sessions: int = 0
    calls_per_s: float | None = None
    p50_s: float | None = None
    p99_s: float | None = None
    failed: int = 0
    failed_per_s: float | None = None


def top_command(
    interval: Annotated[
        float, typer.Option(metavar="SECONDS", help=f"The time between two looks, {SHORTEST_S:g} to {LONGEST_S:g}.")
    ] = 1.0,
    count: Annotated[int, typer.Option(help="How many times to look; 0: until Ctrl-C.")] = 0,
    as_json: AsJson = False,
) -> int:
    """Show the living pools of this user on this machine: workers, queue, calls per second, response times, failures.

    A pool makes its figures only when it is asked. With --json: one line for each look, a list of pools.
    """
    if not SHORTEST_S <= interval <= LONGEST_S:
        raise UsageError(f"--interval {interval:g}: must be from {SHORTEST_S:g} to {LONGEST_S:g} seconds")
    if count < 0:
        raise UsageError(f"--count {count}: must be 0 or more")
    try:
        watch(Terminal(), interval, count, as_json=as_json)
    except KeyboardInterrupt:
        pass  # the usual end
    return Exit.GOOD


def watch(terminal: Terminal, interval_s: float, count: int, *, as_json: bool) -> None:
    """Look `count` times, or for ever if it is 0, and print what is found: on a terminal always in the same place."""
    before: dict[str, PoolFigures] = {}
    with Live(console=terminal, auto_refresh=False) if terminal.is_terminal and not as_json else nullcontext() as live:
        for look in itertools.count(1):
            answers = ask_pools()
            lines = [compare_figures(found, before.get(found.record.name)) for found in answers]
            before = {found.record.name: found.figures for found in answers if found.figures is not None}
            if as_json:
                say_json(lines)
                sys.stdout.flush()
            elif live is None:
                show_table(terminal, COLUMNS, [cells(line) for line in lines])
                terminal.file.flush()
            else:
                live.update(make_table(COLUMNS, [cells(line) for line in lines]), refresh=True)
            if look == count:
                return
            time.sleep(interval_s)


def compare_figures(found: Answered, before: PoolFigures | None) -> Line:
    """Return the line of a pool, with its rates since `before`, which are its figures of the look before, if any."""
    now = found.figures
    if now is None:
        return Line(name=found.record.name, owner_pid=found.record.owner_pid, why=found.why)
    ended, failed = _ended(now)
    calls_per_s = failed_per_s = None
    if before is not None and now.at_ns > before.at_ns:
        passed_s = (now.at_ns - before.at_ns) / 1e9
        ended_before, failed_before = _ended(before)
        calls_per_s, failed_per_s = (ended - ended_before) / passed_s, (failed - failed_before) / passed_s
    return Line(
        name=now.name,
        owner_pid=found.record.owner_pid,
        state=now.state,
        target=now.target,
        workers=now.workers,
        waiting=now.waiting,
        in_flight=now.in_flight,
        sessions=now.sessions,
        calls_per_s=calls_per_s,
        p50_s=now.response_at(0.5),
        p99_s=now.response_at(0.99),
        failed=failed,
        failed_per_s=failed_per_s,
    )


def _ended(figures: PoolFigures) -> tuple[int, int]:
    # How many calls have ended, and how many of them in another way than by a worker's answer.
    ended = sum(figures.ended.values())
    return ended, ended - sum(figures.ended.get(outcome, 0) for outcome in ANSWERED)


def cells(line: Line) -> tuple[str, ...]:
    """Return the cells of a pool's row, in the order of COLUMNS."""
    if line.why:
        return (line.name, str(line.owner_pid), line.why, *["-"] * (len(COLUMNS) - 3))
    others = ", ".join(f"{number} {state}" for state, number in sorted(line.workers.items()))
    return (
        line.name,
        str(line.owner_pid),
        line.state,
        f"{sum(line.workers.values())} of {line.target}" + (f" ({others})" if others else ""),
        str(line.waiting),
        _rate(line.calls_per_s),
        _time(line.p50_s),
        _time(line.p99_s),
        str(line.sessions),
        str(line.failed),
        _rate(line.failed_per_s),
    )


def _rate(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:,.1f}"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1e3:.2f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.0f} µs"

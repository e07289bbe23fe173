"""The command `diff`: what changed between two stored comparisons."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from poolproof.harness.cli.commands.options import OF_VERDICT, AsJson
from poolproof.harness.cli.output import Terminal, say_json, shown
from poolproof.harness.cli.terminal import print_line, styled
from poolproof.harness.compare.stored.diff import Diff, Standing, diff
from poolproof.harness.model.errors import UsageError
from poolproof.harness.run.store import read_comparison

MOST_RUNS_NAMED = 2
SHOWN = (Standing.NEW, Standing.UNDECIDED, Standing.FIXED, Standing.STILL)


def _comparison_argument(metavar: str, which: str) -> Any:  # noqa: ANN401 - as typer has it
    return typer.Argument(metavar=metavar, help=f"The folder with the {which} comparison, or its comparison.json.")


def diff_command(
    before: Annotated[Path, _comparison_argument("BEFORE", "earlier")],
    now: Annotated[Path, _comparison_argument("NOW", "later")],
    everything: Annotated[
        bool, typer.Option("--all", help="Show the declared failures and those of the baseline too.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Compare two stored comparisons: the decision, new and fixed findings, and slower timings with intervals.

    Exit codes: 0 nothing is worse; 1 a new finding of the candidate, a slower timing, or UNSAFE where it was not; 3
    something could not be compared or decided.
    """
    for path in (before, now):
        if not path.exists():
            raise UsageError(f"there is no {path}")
    found = diff(read_comparison(before), read_comparison(now))
    if as_json:
        say_json({**msgspec.to_builtins(found), "verdict": found.verdict})
    else:
        show_diff(Terminal(), found, everything=everything)
    return OF_VERDICT[found.verdict]


def show_diff(console: Terminal, found: Diff, *, everything: bool) -> None:
    """Print the decisions, the findings, the timings, and what could not be compared."""
    console.print(
        f"{shown(found.candidate)} replacing {shown(found.baseline)}: {styled(found.before.value)} "
        f"({shown(found.before_at)}), then {styled(found.now.value)} ({shown(found.now_at)})",
        highlight=False,
        soft_wrap=True,
    )
    hidden = 0
    for standing in SHOWN:
        changes = found.of(standing)
        listed = [change for change in changes if everything or change.counts]
        hidden += len(changes) - len(listed)
        for change in listed:
            made_in = "; ".join(change.made_in[:MOST_RUNS_NAMED])
            more = len(change.made_in) - MOST_RUNS_NAMED
            where = f"{made_in} and {more} more" if more > 0 else made_in
            declared = f" (declared: {change.reason})" if change.reason else ""
            what = f"{change.scenario} on {change.pool}, {change.checker}: {change.text}"
            print_line(console, f"  {standing.words}: {what}{declared} [{where}]")
    for timing in found.timings:
        factor = timing.change  # above 1 is slower
        print_line(
            console,
            f"  {timing.claim.pace}: {timing.work}, {timing.metric} divided by the baseline's: "
            f"{timing.saved.value:.3f}, now {timing.now.value:.3f}, which is {1 / factor.value:.3f} times as much "
            f"(95 % interval {1 / factor.high:.3f} to {1 / factor.low:.3f}, margin {timing.margin:.0%})",
        )
    for title, names in (("only before", found.only_before), ("only now", found.only_now)):
        if names:
            print_line(console, f"  {title}: the scenarios {', '.join(names)}")
    for sentence in found.not_compared:
        print_line(console, f"  not compared: {sentence}")
    for sentence in found.conditions:
        print_line(console, f"  other conditions: {sentence}")
    if hidden:
        print_line(console, f"  not shown: {hidden} that are declared or the baseline's own (--all shows them)")

"""The command `history`: how a ratio has changed over the stored benchmark results."""

from __future__ import annotations

from typing import Annotated

import typer

from poolproof.harness.bench.records.index import Index
from poolproof.harness.bench.show import tell_value
from poolproof.harness.bench.statistics.metrics import TESTED_CLOSED, nearest
from poolproof.harness.bench.statistics.trend import bars, tell_trend
from poolproof.harness.cli.commands.options import AsJson, Exit
from poolproof.harness.cli.output import Terminal, say_json
from poolproof.harness.cli.tables import show_table
from poolproof.harness.model.errors import UsageError


def history_command(
    metric: Annotated[str, typer.Option(metavar="NAME", help=f"One of {', '.join(TESTED_CLOSED)}.")] = "p50",
    work: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Show results of this workload only: a scenario's name, or a call."),
    ] = None,
    candidate: Annotated[
        str | None, typer.Option(metavar="POOL", help="Show results of this candidate pool only.")
    ] = None,
    limit: Annotated[int, typer.Option(help="The number of most recent results to show, 1 to 100000.")] = 20,
    as_json: AsJson = False,
) -> int:
    """List the stored benchmark results in time order, and show how one ratio has changed."""
    if metric not in TESTED_CLOSED:
        raise UsageError(
            f"--metric {metric!r}: must be one of {', '.join(TESTED_CLOSED)}{nearest(metric, TESTED_CLOSED)}"
        )
    with Index() as index:
        entries = index.entries(metric=metric, work=work, candidate=candidate, limit=limit)
    if as_json:
        say_json(entries)
        return Exit.GOOD
    console = Terminal()
    rows = [
        (
            entry.created_at,
            entry.commit or "-",
            f"{entry.work}, {entry.load}",
            f"{entry.candidate} / {entry.baseline}",
            entry.metric_claim if entry.valid else "invalid",
            "-" if entry.ratio is None else f"{entry.ratio:.3f}",
            "-" if entry.low is None or entry.high is None else f"{entry.low:.3f} to {entry.high:.3f}",
            tell_value(entry.candidate_value, entry.unit),
        )
        for entry in entries
    ]
    show_table(console, ("taken", "commit", "work", "pools", "verdict", metric, "95 % interval", "candidate"), rows)
    series: dict[tuple[str, ...], list[int]] = {}
    for place, entry in enumerate(entries):
        if entry.valid and entry.ratio is not None:
            key = (entry.work, entry.load, entry.candidate, entry.baseline)
            series.setdefault(key, []).append(place)
    for (its_work, load, its_candidate, its_baseline), places in series.items():
        values = [entries[place].ratio or 0.0 for place in places]
        last = entries[places[-1]]
        told = tell_trend(values, low=last.low or 0.0, high=last.high or 0.0)
        line = f"{its_work}, {load}, {its_candidate} / {its_baseline}: {bars(values)} {told}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if not entries:
        console.print(
            "there is no stored benchmark result yet; `poolproof bench` makes one", markup=False, highlight=False
        )
    return Exit.GOOD

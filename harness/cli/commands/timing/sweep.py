"""The command `sweep`: throughput and latency at growing sizes."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from poolproof.harness.bench.plan import SweepPlan
from poolproof.harness.bench.show import CURVE_COLUMNS, SWEEP_COLUMNS, curve_rows, sweep_markdown, sweep_rows
from poolproof.harness.bench.sweep import carry_out_sweep
from poolproof.harness.bench.workloads.workloads import call_scenario
from poolproof.harness.cli.commands.options import (
    POOL_HELP,
    AsJson,
    Exit,
    Keeping,
    Out,
    Quiet,
    Seed,
    new_folder,
    this_command,
)
from poolproof.harness.cli.commands.timing.options import CallOption
from poolproof.harness.cli.output import Terminal, say_stored_json
from poolproof.harness.cli.tables import show_table
from poolproof.harness.cli.terminal import Steps
from poolproof.harness.model.errors import UsageError
from poolproof.harness.run.store import write_whole
from poolproof.harness.subjects.pools import find_pool


def sweep_command(
    pool: Annotated[
        list[str] | None, typer.Option(metavar="POOL", help=f"A pool to sweep: {POOL_HELP}. May be repeated.")
    ] = None,
    call: CallOption = None,
    workers: Annotated[
        str, typer.Option(help="Pool sizes to measure, with as many clients as workers, as N,N,N; or the word none.")
    ] = "1,2,4,8,16,32,64,128",
    clients: Annotated[
        str,
        typer.Option(
            help="Numbers of clients to measure on a pool of --at-workers workers, as N,N,N; or the word none."
        ),
    ] = "1,2,4,8,16,32",
    at_workers: Annotated[
        int, typer.Option(help="The number of workers while the number of clients varies, 1 to 1024.")
    ] = 8,
    block_seconds: Annotated[float, typer.Option(help="The length of one timed block in seconds, 0.05 to 600.")] = 1.0,
    rounds: Annotated[int, typer.Option(help="Timed blocks of each pool at each point, 1 to 1000.")] = 2,
    seed: Seed = 1,
    out: Out = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Measure throughput and latency for growing numbers of workers and of clients.

    Names the point from which more clients bring little (the knee), and fits the universal scalability law.
    """
    for option, value, least, most in (
        ("--at-workers", at_workers, 1, 1024),
        ("--block-seconds", block_seconds, 0.05, 600),
        ("--rounds", rounds, 1, 1000),
        ("--seed", seed, 0, 2**32 - 1),
    ):
        if not least <= value <= most:
            raise UsageError(f"{option} {value}: must be a number from {least} to {most}")
    plan = SweepPlan(
        call=call_scenario('sleep {"seconds": 0.1}' if call is None else call),
        pools=tuple(find_pool(name) for name in pool or ["v1", "v2"]),
        sizes=tuple((size, size, "workers") for size in _numbers("--workers", workers))
        + tuple((at_workers, number, "clients") for number in _numbers("--clients", clients)),
        block_s=block_seconds,
        rounds=rounds,
        seed=seed,
    )
    folder = out or new_folder("sweep")
    with Keeping(folder, at_the_end=True), Steps(Terminal(stderr=True), quiet=quiet) as steps:
        report = carry_out_sweep(plan, progress=steps, command=this_command())
    data = msgspec.json.format(msgspec.json.encode(report), indent=1)
    write_whole(folder / "sweep.json", data)
    write_whole(folder / "sweep.md", sweep_markdown(report).encode())
    if as_json:
        say_stored_json(data + b"\n")
        return Exit.GOOD
    console = Terminal()
    show_table(console, SWEEP_COLUMNS, sweep_rows(report.points))
    show_table(console, CURVE_COLUMNS, curve_rows(report.curves))
    for text in (
        *(curve.text for curve in report.curves),
        *(f"invalid: {problem}" for problem in report.validity.problems),
        *(f"warning: {warning}" for warning in report.validity.warnings),
        f"kept: {folder / 'sweep.json'}",
    ):
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    if report.wrong:
        return Exit.BAD
    return Exit.GOOD if report.validity.valid else Exit.UNDECIDED


def _numbers(option: str, text: str) -> list[int]:
    if text == "none":
        return []
    try:
        found = sorted({int(word) for word in text.split(",")})
    except ValueError:
        found = [0]
    if not all(1 <= number <= 1024 for number in found):
        raise UsageError(f"{option} {text!r}: whole numbers from 1 to 1024 with commas between them, or none")
    return found

"""`python -m benchmarks [--quick] [--only NAME]...`: measure, print the tables, write the JSON."""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import psutil
from rich.console import Console

from benchmarks.catalogue import EXPERIMENTS, choose, run
from benchmarks.effort import full, quick
from benchmarks.exporters import describe_run, goal_table, print_result, write_json
from benchmarks.markdown import update_page
from poolproof.harness.model.errors import UsageError

LONGEST_S = 900.0
"""After this many seconds the run is stuck: all processes that it started are killed, and this program exits."""
STUCK_STATUS = 3
WIDTH = 140


def main(argv: Sequence[str] | None = None, console: Console | None = None) -> int:
    """Run the experiments, and return the exit status: 0 all measured, 1 an experiment failed, 2 invalid usage."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="at most 2 minutes in place of 8")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help=", ".join(EXPERIMENTS))
    parser.add_argument("--out", type=Path, default=Path("out/bench.json"), help="where the JSON goes (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the order of the blocks (%(default)s)")
    parser.add_argument("--page", type=Path, metavar="FILE", help="a Markdown page whose results are replaced too")
    options = parser.parse_args(argv)
    if console is None:
        console = Console()
        if not console.is_terminal:
            console = Console(width=WIDTH)
    try:
        experiments = choose(options.only)
    except UsageError as error:
        console.print(str(error), markup=False)
        return 2
    effort = quick(options.seed) if options.quick else full(options.seed)
    watchdog = threading.Timer(LONGEST_S, end_everything)
    watchdog.daemon = True
    watchdog.start()
    try:
        report = run(experiments, effort, on_result=lambda result: print_result(result, console))
    finally:
        watchdog.cancel()
    console.print(goal_table(report))
    console.print(describe_run(report), markup=False)
    write_json(report, options.out)
    console.print(f"written: {options.out}", markup=False)
    if options.page is not None:
        update_page(report, options.page)
    return int(any(not result.rows for result in report.results))


def end_everything() -> None:
    """Kill every descendant process, then exit."""
    sys.stderr.write(f"benchmarks: not done after {LONGEST_S:.0f} s; ending everything\n")
    for child in psutil.Process().children(recursive=True):
        try:
            child.kill()
        except psutil.NoSuchProcess:
            pass
    os._exit(STUCK_STATUS)


if __name__ == "__main__":
    sys.exit(main())

"""The command `baseline check`: looks for regressions against a saved benchmark result."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from poolproof.harness.bench.machine import describe
from poolproof.harness.bench.records.baselines import Baselines
from poolproof.harness.bench.report import read_report
from poolproof.harness.bench.show import tell_interval
from poolproof.harness.bench.statistics.claims import Claim
from poolproof.harness.bench.statistics.figures import BenchReport
from poolproof.harness.bench.statistics.regression import (
    Change,
    changes_between,
    claim_of_changes,
    confirm,
    machine_changes,
    work_changes,
)
from poolproof.harness.cli.commands.options import AsJson, Exit, Imports, Out, Quiet, Seed
from poolproof.harness.cli.commands.timing.keeping import measure_and_keep
from poolproof.harness.cli.commands.timing.plans import plans_of
from poolproof.harness.cli.output import Terminal, say_json, warn
from poolproof.harness.cli.tables import show_table
from poolproof.harness.model.errors import UsageError
from poolproof.harness.subjects.named import Named

Name = Annotated[str, typer.Argument(metavar="NAME", help="The name of the saved benchmark result (the baseline).")]
CHANGE_COLUMNS = ("work", "metric", "verdict", "change", "95 % interval", "margin", "saved ratio", "ratio now")


def check_command(
    name: Name,
    source: Annotated[
        list[Path] | None,
        typer.Option(
            "--from",
            metavar="PATH",
            help="A bench.json to check instead of measuring. Give --from a second time to add the repetition.",
        ),
    ] = None,
    allow_machine_change: Annotated[
        bool,
        typer.Option(
            "--allow-machine-change",
            help="Compare even if the baseline was measured on another machine or Python version.",
        ),
    ] = False,
    imports: Imports = None,
    seed: Seed = 1,
    out: Out = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Repeat the baseline's measurement and look for regressions.

    Exit codes: 0 no worse; 1 a regression that a second measurement confirms; 3 not decided.
    """
    saved, named = Baselines().load(name), Named(imports or ())
    for path in source or ():
        require_result(path)
    taken = [read_report(path) for path in source or ()]
    if len(taken) > 2:
        raise UsageError(f"--from is given {len(taken)} times; at most two are allowed: one result and its repetition")
    machines = [report.machine for report in taken] or [describe()]
    changed = dict.fromkeys(told for machine in machines for told in machine_changes(saved.machine, machine))
    if changed and not allow_machine_change:
        raise UsageError(
            f"the baseline {name!r} is of another machine: {'; '.join(changed)}. Save one here, or compare all the "
            "same with --allow-machine-change"
        )
    reports = taken or [measure_and_keep(plans_of(saved, seed, named), out, quiet=quiet)]
    for report in reports:
        _require_same_works(name, saved, report)
    changes = changes_between(saved, reports[0])
    if any(change.claim is Claim.WORSE for change in changes):
        if not taken:
            warn(
                "poolproof: the candidate looks slower than the baseline allows; measuring again, "
                "because one measurement does not prove it"
            )
            reports.append(measure_and_keep(plans_of(saved, (seed + 1) % 2**32, named), out, quiet=quiet, second=True))
        if len(reports) == 1:
            warn(
                "poolproof: the candidate looks slower than the baseline allows, but one "
                "measurement does not prove it; give a repetition with a second --from"
            )
        changes = confirm(changes, changes_between(saved, reports[1]) if len(reports) == 2 else ())
    invalid = [
        f"{bench.work}: {problem}"
        for report in reports
        for bench in report.benches
        for problem in bench.validity.problems
    ]
    if as_json:
        say_json(changes)
    else:
        _show(changes, invalid)
    claim = claim_of_changes(changes, [bench.work for bench in reports[0].benches])
    if any(bench.wrong for report in reports for bench in report.benches):
        return Exit.BAD
    if invalid or claim is Claim.INCONCLUSIVE:
        return Exit.UNDECIDED
    return Exit.BAD if claim is Claim.WORSE else Exit.GOOD


def require_result(path: Path) -> None:
    """Raise UsageError if the path of --from does not exist."""
    if not path.exists():
        raise UsageError(f"--from {path}: there is no such file or folder")


def _require_same_works(name: str, saved: BenchReport, now: BenchReport) -> None:
    before = {bench.work: bench for bench in saved.benches}
    for bench in now.benches:
        if bench.work not in before:
            raise UsageError(f"the baseline {name!r} has no workload {bench.work!r}; it has {', '.join(before)}")
        if others := work_changes(before[bench.work], bench):
            raise UsageError(f"{bench.work} is not what the baseline {name!r} measured: {'; '.join(others)}")


def _show(changes: tuple[Change, ...], invalid: list[str]) -> None:
    console = Terminal()
    rows = [
        (
            change.work,
            change.metric,
            change.claim.value,
            f"{change.change.value:.3f}",
            tell_interval(change.change),
            f"{change.margin:.1%}",
            f"{change.saved.value:.3f}",
            f"{change.now.value:.3f}",
        )
        for change in changes
    ]
    show_table(console, CHANGE_COLUMNS, rows)
    for line in invalid:
        console.print(f"invalid: {line}", markup=False, highlight=False, soft_wrap=True)

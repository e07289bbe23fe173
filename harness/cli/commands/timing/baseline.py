"""Commands on stored benches: baseline save, check, list, show; history."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from poolproof.bridge.redaction import redact_words
from poolproof.harness.bench.bench import BenchPlan
from poolproof.harness.bench.machine import describe
from poolproof.harness.bench.records.baselines import Baselines
from poolproof.harness.bench.records.index import Index
from poolproof.harness.bench.report import read_report
from poolproof.harness.bench.running import run_benches
from poolproof.harness.bench.schedules import make_schedule
from poolproof.harness.bench.show import tell_interval, tell_value
from poolproof.harness.bench.statistics.claims import Claim
from poolproof.harness.bench.statistics.figures import BenchReport
from poolproof.harness.bench.statistics.metrics import TESTED_CLOSED, nearest
from poolproof.harness.bench.statistics.regression import (
    Change,
    changes_between,
    claim_of_changes,
    confirm,
    machine_changes,
    work_changes,
)
from poolproof.harness.bench.statistics.trend import bars, tell_trend
from poolproof.harness.bench.workloads.workloads import BARE_CALL, call_scenario
from poolproof.harness.cli.commands.options import (
    AsJson,
    Exit,
    Imports,
    Keeping,
    Out,
    Profile,
    ProfileOption,
    Quiet,
    Scenarios,
    Seed,
    Workers,
    new_folder,
)
from poolproof.harness.cli.commands.timing.bench import (
    Baseline,
    BlockSeconds,
    Budgets,
    CallOption,
    Candidate,
    ClientsOption,
    LoadOption,
    Margin,
    Rounds,
    keep,
    make_plans,
    show_report,
)
from poolproof.harness.cli.output import Terminal, say, say_json, warn
from poolproof.harness.cli.terminal import Steps, show_table
from poolproof.harness.compare.catalogue import find_stored
from poolproof.harness.model.errors import UsageError
from poolproof.harness.model.timing.load import CLOSED
from poolproof.harness.model.workload import Size
from poolproof.harness.subjects.named import Named
from poolproof.harness.subjects.pools import find_pool

baseline_app = typer.Typer(
    help="Save a benchmark result under a name, and check later results for regressions against it.",
    no_args_is_help=True,
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="The name of the saved benchmark result (the baseline).")]
CHANGE_COLUMNS = ("work", "metric", "verdict", "change", "95 % interval", "margin", "saved ratio", "ratio now")


@baseline_app.command("save")
def save_command(
    name: Name,
    scenarios: Scenarios = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="PATH",
            help="Save this bench.json, or the bench.json in this folder, instead of measuring now.",
        ),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite a baseline that has the same name.")] = False,
    call: CallOption = None,
    baseline: Baseline = "v1",
    candidate: Candidate = "v2",
    profile: ProfileOption = Profile.QUICK,
    seed: Seed = 1,
    workers: Workers = 4,
    clients: ClientsOption = None,
    load: LoadOption = None,
    budget: Budgets = None,
    rounds: Rounds = None,
    block_seconds: BlockSeconds = None,
    margin: Margin = None,
    out: Out = None,
    quiet: Quiet = False,
) -> int:
    """Measure the pools, or take a stored result (--from), and save it as a baseline under NAME."""
    store = Baselines()
    if not replace:
        store.require_free(name)
    if source is not None:
        _require_there(source)
        report = read_report(source)
    else:
        plans = make_plans(
            scenarios,
            call,
            baseline=baseline,
            candidate=candidate,
            profile=profile,
            seed=seed,
            workers=workers,
            clients=clients,
            load=load,
            budgets=budget,
            rounds=rounds,
            block_s=block_seconds,
            margin=margin,
        )
        if not scenarios and call is None and clients is None:
            bare = Size(workers=plans[0].size.workers, clients=1)
            plans.append(
                msgspec.structs.replace(plans[0], scenario=call_scenario(BARE_CALL), size=bare, load=CLOSED, budgets=())
            )
        report = _measure(plans, out, quiet=quiet)
    path = store.save(name, report, replace=replace)
    say(f"baseline {name} saved in {path}")
    return Exit.GOOD


@baseline_app.command("check")
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
        _require_there(path)
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
    reports = taken or [_measure(plans_of(saved, seed, named), out, quiet=quiet)]
    for report in reports:
        _require_same_works(name, saved, report)
    changes = changes_between(saved, reports[0])
    if any(change.claim is Claim.WORSE for change in changes):
        if not taken:
            warn(
                "poolproof: the candidate looks slower than the baseline allows; measuring again, "
                "because one measurement does not prove it"
            )
            reports.append(_measure(plans_of(saved, (seed + 1) % 2**32, named), out, quiet=quiet, second=True))
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


@baseline_app.command("list")
def list_command() -> int:
    """List the saved baselines."""
    store = Baselines()
    rows = []
    for name in store.names():
        report = store.load(name)
        works = ", ".join(f"{bench.work} ({bench.candidate} against {bench.baseline})" for bench in report.benches)
        rows.append((name, report.created_at, report.commit or "-", report.claim.value, works))
    show_table(Terminal(), ("baseline", "saved", "commit", "verdict", "works"), rows)
    return Exit.GOOD


@baseline_app.command("show")
def show_command(name: Name, as_json: AsJson = False) -> int:
    """Show one baseline with all of its figures."""
    report = Baselines().load(name)
    if as_json:
        say_json(report)
    else:
        show_report(Terminal(), report)
    return Exit.GOOD


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


def plans_of(saved: BenchReport, seed: int, named: Named) -> list[BenchPlan]:
    """Plans that repeat the baseline's benches. Raises UsageError if a scenario no longer exists."""
    plans = []
    for bench in saved.benches:
        if bench.call:
            scenario = call_scenario(bench.call)
        else:
            word = f"{bench.file}::{bench.work}" if bench.file else bench.work
            (scenario,) = find_stored(word, named)
        named.require_pool(bench.baseline)
        named.require_pool(bench.candidate)
        schedule = bench.schedule
        plans.append(
            BenchPlan(
                scenario=scenario,
                baseline=find_pool(bench.baseline),
                candidate=find_pool(bench.candidate),
                size=Size(workers=bench.workers, clients=bench.clients),
                load=bench.load,
                schedule=make_schedule(
                    schedule.profile, rounds=schedule.rounds, block_s=schedule.block_s, margin=schedule.margin
                ),
                seed=seed,
                budgets=tuple(result.text for result in bench.budgets),
            )
        )
    return plans


def _require_same_works(name: str, saved: BenchReport, now: BenchReport) -> None:
    before = {bench.work: bench for bench in saved.benches}
    for bench in now.benches:
        if bench.work not in before:
            raise UsageError(f"the baseline {name!r} has no workload {bench.work!r}; it has {', '.join(before)}")
        if others := work_changes(before[bench.work], bench):
            raise UsageError(f"{bench.work} is not what the baseline {name!r} measured: {'; '.join(others)}")


def _require_there(path: Path) -> None:
    if not path.exists():
        raise UsageError(f"--from {path}: there is no such file or folder")


def _measure(plans: list[BenchPlan], out: Path | None, *, quiet: bool, second: bool = False) -> BenchReport:
    folder = out or new_folder("bench")
    if second and out is not None:
        folder = out / "again"
    with Keeping(folder, at_the_end=True), Steps(Terminal(stderr=True), quiet=quiet) as steps:
        report = run_benches(plans, progress=steps, command=shlex.join(redact_words(["poolproof", *sys.argv[1:]])))
    keep(report, folder)
    return report


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

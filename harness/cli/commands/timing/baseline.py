"""Commands on saved benchmark results: baseline save, check, list, show."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from poolproof.harness.bench.records.baselines import Baselines
from poolproof.harness.bench.report import read_report
from poolproof.harness.cli.commands.options import (
    AsJson,
    Exit,
    Out,
    Profile,
    ProfileOption,
    Quiet,
    Scenarios,
    Seed,
    Workers,
)
from poolproof.harness.cli.commands.timing.check import Name, check_command, require_result
from poolproof.harness.cli.commands.timing.keeping import measure_and_keep, show_report
from poolproof.harness.cli.commands.timing.options import (
    Baseline,
    BlockSeconds,
    Budgets,
    CallOption,
    Candidate,
    ClientsOption,
    LoadOption,
    Margin,
    Rounds,
)
from poolproof.harness.cli.commands.timing.plans import bare_plan, make_plans
from poolproof.harness.cli.output import Terminal, say, say_json
from poolproof.harness.cli.tables import show_table

baseline_app = typer.Typer(
    help="Save a benchmark result under a name, and check later results for regressions against it.",
    no_args_is_help=True,
)


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
        require_result(source)
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
            plans.append(bare_plan(plans[0]))
        report = measure_and_keep(plans, out, quiet=quiet)
    path = store.save(name, report, replace=replace)
    say(f"baseline {name} saved in {path}")
    return Exit.GOOD


baseline_app.command("check")(check_command)


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

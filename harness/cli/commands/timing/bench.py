"""The command `bench`: times two pools in paired blocks."""

from __future__ import annotations

from typing import Annotated

import typer

from poolproof.harness.bench.report import verdict_of
from poolproof.harness.bench.running import run_benches
from poolproof.harness.bench.statistics.alarms import CHECKS, check_yourself, tell
from poolproof.harness.cli.commands.options import (
    OF_VERDICT,
    AsJson,
    Exit,
    Keeping,
    Out,
    Profile,
    ProfileOption,
    Quiet,
    Scenarios,
    Seed,
    WorkerCommand,
    Workers,
    new_folder,
    this_command,
)
from poolproof.harness.cli.commands.timing.keeping import keep, show_report
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
    ServiceTimes,
    UntilWidth,
)
from poolproof.harness.cli.commands.timing.plans import make_plans, try_call
from poolproof.harness.cli.output import Terminal, say, say_stored_json
from poolproof.harness.cli.terminal import Steps
from poolproof.harness.model.errors import UsageError
from poolproof.harness.subjects.pools import find_pool


def bench_command(
    scenarios: Scenarios = None,
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
    until_width: UntilWidth = None,
    worker_command: WorkerCommand = None,
    service_times: ServiceTimes = False,
    check_yourself_runs: Annotated[
        int, typer.Option("--check-yourself", metavar="N", help=f"Test the bench itself, N times: {CHECKS}")
    ] = 0,
    out: Out = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Time two pools in paired blocks, and decide whether the candidate is better, no worse or worse."""
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
        until_width=until_width,
        worker_command=worker_command,
        service_times=service_times,
    )
    if not 0 <= check_yourself_runs <= 1000:
        raise UsageError(f"--check-yourself {check_yourself_runs}: must be a whole number from 1 to 1000")
    if call is not None:
        try_call(plans[0])
    command = this_command()
    folder = out or new_folder("bench")
    console = Terminal()
    with Keeping(folder, at_the_end=True), Steps(Terminal(stderr=True), quiet=quiet) as steps:
        if check_yourself_runs:
            checks = check_yourself(plans[0], check_yourself_runs, folder, steps=steps, find_pool=find_pool)
            say(*(f"{check.kind}: {tell(check)}" for check in checks))
            return Exit.BAD if any(check.wrong > check.allowed for check in checks) else Exit.GOOD
        report = run_benches(plans, progress=steps, command=command)
    path = keep(report, folder)
    if as_json:
        say_stored_json(path.read_bytes())
    else:
        show_report(console, report)
        console.print(f"kept: {path}", markup=False, highlight=False, soft_wrap=True)
    return OF_VERDICT[verdict_of(report)]

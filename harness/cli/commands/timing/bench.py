"""Commands that measure: bench and sweep."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console

from poolproof.bridge import CommandError, PoolConfig
from poolproof.bridge.redaction import redact_words
from poolproof.harness.bench.bench import BenchPlan
from poolproof.harness.bench.records.index import Index
from poolproof.harness.bench.report import BENCH_FILE, verdict_of, write_report
from poolproof.harness.bench.running import default_clients, run_benches
from poolproof.harness.bench.schedules import make_schedule
from poolproof.harness.bench.show import (
    COLUMNS,
    CURVE_COLUMNS,
    SWEEP_COLUMNS,
    curve_rows,
    describe,
    figure_rows,
    headline,
    markdown,
    notes,
    sweep_markdown,
    sweep_rows,
    test_rows,
)
from poolproof.harness.bench.statistics.alarms import CHECKS, check_yourself, tell
from poolproof.harness.bench.statistics.figures import BenchReport
from poolproof.harness.bench.sweep import SweepPlan, carry_out_sweep
from poolproof.harness.bench.workloads.workloads import DEFAULT_CALL, call_scenario, plan_of
from poolproof.harness.cli.commands.options import (
    OF_VERDICT,
    POOL_HELP,
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
)
from poolproof.harness.cli.output import Terminal, say, say_stored_json
from poolproof.harness.cli.terminal import Steps, show_table
from poolproof.harness.compare.catalogue import find_scenarios
from poolproof.harness.model.errors import UsageError
from poolproof.harness.model.timing.budget import parse_budget
from poolproof.harness.model.timing.load import parse_load
from poolproof.harness.model.workload import Size
from poolproof.harness.run.names import pool_name
from poolproof.harness.run.pool.configuration import require_startable
from poolproof.harness.run.store import write_whole
from poolproof.harness.subjects.named import Named
from poolproof.harness.subjects.pools import find_pool

Baseline = Annotated[str, typer.Option(metavar="POOL", help=f"The reference pool: {POOL_HELP}.")]
Candidate = Annotated[
    str,
    typer.Option(
        metavar="POOL",
        help="The pool to judge against the baseline. For a test of the test, slower:10 is v2 with 10 % more latency.",
    ),
]
ClientsOption = Annotated[
    int | None,
    typer.Option(help="Client threads, 1 to 1024. Default: the number of workers; with an open load, 8 times as many."),
]
LoadOption = Annotated[
    str | None,
    typer.Option(
        metavar="LOAD",
        help="When calls are made: closed (each client calls again at once), or an open "
        "load at a RATE in calls per second: constant:RATE, poisson:RATE, ramp:RATE:RATE, bursts:CALLS:EVERY_S.",
    ),
]
Budgets = Annotated[
    list[str] | None,
    typer.Option(
        "--budget",
        metavar="BUDGET",
        help="A limit that a figure must keep, such as 'v2.p99 / v1.p99 < 1.10 @95%'. May be repeated.",
    ),
]
CallOption = Annotated[
    str | None,
    typer.Option(
        metavar="CALL", help=f"A worker command and its arguments to time instead of scenarios. Default: {DEFAULT_CALL}"
    ),
]
Rounds = Annotated[
    int | None,
    typer.Option(
        help="The number of measuring rounds; each round times every pool once. Default: as the profile says."
    ),
]
BlockSeconds = Annotated[
    float | None, typer.Option(help="The length of one timed block in seconds. Default: as the profile says.")
]
Margin = Annotated[
    float | None,
    typer.Option(
        help="The largest slowdown that still counts as 'no worse', as a fraction. Default: 0.05, which is 5 %."
    ),
]
ServiceTimes = Annotated[
    bool,
    typer.Option(
        "--service-times",
        help="Also measure service times and waiting times. They need an observer, so they get additional rounds.",
    ),
]
UntilWidth = Annotated[
    float | None,
    typer.Option(help="Stop early once half the interval of every ratio is narrower than this fraction (0.02 is 2 %)."),
]


TRY_S = 60.0
OPTIONS = {
    "rounds": "--rounds",
    "block_s": "--block-seconds",
    "margin": "--margin",
    "until_width": "--until-width",
}


def make_plans(
    scenarios: list[str] | None,
    call: str | None,
    *,
    baseline: str,
    candidate: str,
    profile: str,
    seed: int,
    workers: int,
    clients: int | None,
    load: str | None,
    budgets: list[str] | None,
    rounds: int | None = None,
    block_s: float | None = None,
    margin: float | None = None,
    until_width: float | None = None,
    worker_command: str | None = None,
    service_times: bool = False,
) -> list[BenchPlan]:
    """The benches to run. Raises UsageError that names a bad option, its value and its limits."""
    for option, value, least, most in (("--seed", seed, 0, 2**32 - 1), ("--workers", workers, 1, 1024)):
        if not least <= value <= most:
            raise UsageError(f"{option} {value}: must be a whole number from {least} to {most}")
    if clients is not None and not 1 <= clients <= 1024:
        raise UsageError(f"--clients {clients}: must be a whole number from 1 to 1024")
    if scenarios and call is not None:
        raise UsageError(f"--call {call!r} and scenarios cannot be given together")
    found = (
        find_scenarios(scenarios, profile="full", named=Named(scenarios))
        if scenarios
        else [call_scenario(DEFAULT_CALL if call is None else call)]
    )
    schedule = make_schedule(
        profile, rounds=rounds, block_s=block_s, margin=margin, until_width=until_width, labels=OPTIONS
    )
    one, other = find_pool(baseline), find_pool(candidate)
    require_startable(found, (one.name, other.name), worker_command)
    for budget in budgets or ():
        parse_budget(budget, pools=(one.name, other.name))
    plans = []
    for scenario in found:
        each = parse_load(load if load is not None else scenario.load)
        size = scenario.fixed_size or Size(workers=workers, clients=clients or default_clients(each, workers))
        plans.append(
            BenchPlan(
                scenario=scenario,
                baseline=one,
                candidate=other,
                size=size,
                load=each,
                schedule=schedule,
                seed=seed,
                budgets=tuple(budgets or ()),
                worker_command=worker_command,
                observed=service_times,
            )
        )
    return plans


def try_call(plan: BenchPlan) -> None:
    """Make the plan's call once on each pool. Raises UsageError, with the worker's error, if a worker refuses it."""
    (step,) = plan_of(plan.scenario, Size(workers=1, clients=1), plan.seed)[0]
    for subject in (plan.baseline, plan.candidate):
        options: dict[str, Any] = {**plan.scenario.config, "workers": 1, "name": pool_name("try", subject.name)}
        if plan.worker_command is not None:
            options["worker_command"] = plan.worker_command
        config = PoolConfig.from_options(options)
        with subject.make(config, None) as pool:
            try:
                pool.execute(step.command, dict(step.args), timeout_s=TRY_S)
            except CommandError as error:
                raise UsageError(
                    f"--call {plan.scenario.summary!r}: {subject.name} answered with an error: {error}"
                ) from error


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
        int, typer.Option("--check-yourself", metavar="N", help=f"Put the bench to the test, N times: {CHECKS}")
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
    command = shlex.join(redact_words(["poolproof", *sys.argv[1:]]))
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


def keep(report: BenchReport, folder: Path) -> Path:
    """Write the report as JSON and Markdown, add it to the index, and return the path of the JSON."""
    path = write_report(report, folder)
    write_whole(folder / Path(BENCH_FILE).with_suffix(".md").name, markdown(report).encode())
    with Index() as index:
        index.add(report, path)
    return path


def show_report(console: Console, report: BenchReport) -> None:
    """Print the tests, figures and notes of each bench."""
    for bench in report.benches:
        console.print(headline(bench), markup=False, highlight=False, style="bold")
        console.print(describe(bench), markup=False, highlight=False, soft_wrap=True)
        show_table(console, COLUMNS, test_rows(bench))
        show_table(console, ("figure", bench.baseline, bench.candidate, "why not"), figure_rows(bench))
        for note in notes(bench):
            console.print(f"  - {note}", markup=False, highlight=False, soft_wrap=True)


def sweep_command(
    pool: Annotated[
        list[str] | None, typer.Option(metavar="POOL", help=f"A pool to sweep: {POOL_HELP}. May be repeated.")
    ] = None,
    call: CallOption = None,
    workers: Annotated[
        str, typer.Option(help="Pool sizes to measure, with as many clients as workers, as N,N,N; or none.")
    ] = "1,2,4,8,16,32,64,128",
    clients: Annotated[
        str, typer.Option(help="Numbers of clients to measure on a pool of --at-workers workers, as N,N,N; or none.")
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
        report = carry_out_sweep(plan, progress=steps, command=shlex.join(redact_words(["poolproof", *sys.argv[1:]])))
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

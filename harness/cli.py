"""The command `poolproof`: reads what was asked for, calls the room that does it, and says how it went. The porch.

Exit codes: 0 SAFE or passed, 1 UNSAFE or failed, 2 bad usage, 3 INCONCLUSIVE or unknown, 4 the run itself failed,
130 interrupted. Bad input is one line on stderr, never a traceback.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from bridge import PoolError
from bridge.rundir import list_pools, reap_orphans
from bridge.worker import main as worker_main
from harness.catalogue import all_scenarios, find_scenarios
from harness.checkers import ALL
from harness.compare import compare, reanalyze, run_jobs
from harness.comparison import RunResult
from harness.doctor import examine
from harness.errors import HarnessError, UsageError
from harness.fault import DESCRIPTIONS
from harness.job import start_job
from harness.pools import SUBJECTS, find_pool
from harness.probe import known_commands
from harness.runner import Request, analyze
from harness.scenario import Scenario
from harness.selfcheck.command import run_selfcheck
from harness.selfcheck.roster import find_mutants
from harness.store import COMPARISON_FILE, RunFolder, read_comparison
from harness.terminal import Steps, show_decision, show_result, show_table
from harness.verdict import Decision, Verdict, worst
from harness.workload import Size
from reports import FORMATS, comparison_schema, write_reports

FULL_SCALE = 3.0
JOBS = 4
SELFCHECK_JOBS = 2
DEFAULT_OUT = Path("out")


class Exit(IntEnum):
    """What the exit codes mean."""

    GOOD = 0
    BAD = 1
    USAGE = 2
    UNDECIDED = 3
    BROKEN = 4
    INTERRUPTED = 130


class Profile(StrEnum):
    """How thorough a run is: quick ends within 90 s on two processors, full makes three times as many calls."""

    QUICK = "quick"
    FULL = "full"


class Listed(StrEnum):
    """What can be listed."""

    SCENARIOS = "scenarios"
    POOLS = "pools"
    FAULTS = "faults"
    CHECKERS = "checkers"


OF_DECISION = {Decision.SAFE: Exit.GOOD, Decision.UNSAFE: Exit.BAD, Decision.INCONCLUSIVE: Exit.UNDECIDED}
OF_VERDICT = {Verdict.PASS: Exit.GOOD, Verdict.FAIL: Exit.BAD, Verdict.UNKNOWN: Exit.UNDECIDED}

app = typer.Typer(
    name="poolproof",
    help="Proves that a new worker pool may replace an old one.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Scenarios = Annotated[
    list[str] | None, typer.Argument(metavar="[SCENARIO]...", help="Names of the catalogue, or files; all if none.")
]
Seed = Annotated[int, typer.Option(help="Decides every workload and every order; 0 to 4294967295.")]
Workers = Annotated[int, typer.Option(help="Worker processes of each pool, 1 to 1024.")]
Clients = Annotated[int, typer.Option(help="Client threads that call, 1 to 1024.")]
Jobs = Annotated[int, typer.Option(help="Runs at the same time, 1 to 64. Timings are always taken alone.")]
ProfileOption = Annotated[Profile, typer.Option(help="How thorough the runs are.")]
WorkerCommand = Annotated[
    str | None,
    typer.Option(metavar="COMMAND", help="Any program that speaks the wire; {worker_id} stands for the worker's id."),
]
Out = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Where to keep everything; a new folder in out/ if not given.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]


@app.command("compare")
def compare_command(
    scenarios: Scenarios = None,
    baseline: Annotated[str, typer.Option(help="The pool that is to be replaced.")] = "v1",
    candidate: Annotated[str, typer.Option(help="The pool that is to replace it.")] = "v2",
    seed: Seed = 1,
    workers: Workers = 4,
    clients: Clients = 8,
    jobs: Jobs = JOBS,
    profile: ProfileOption = Profile.QUICK,
    worker_command: WorkerCommand = None,
    out: Out = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Run every scenario on both pools and decide whether the candidate may replace the baseline."""
    found = find_scenarios(scenarios or [], profile=profile)
    one, other = find_pool(baseline), find_pool(candidate)
    request = _request(found, seed, workers, clients, jobs, profile, worker_command)
    folder = out or _new_folder("compare")
    with _Keeping(folder), Steps(Console(stderr=True), quiet=quiet) as steps:
        comparison = compare(
            found,
            one,
            other,
            request,
            folder / "runs",
            jobs=jobs,
            start_job=start_job,
            progress=steps,
            command=shlex.join(["poolproof", *sys.argv[1:]]),
        )
        written = write_reports(comparison, folder)
    if as_json:
        sys.stdout.write(written["json"].read_text())
    else:
        console = Console()
        show_decision(console, comparison)
        console.print(f"report: {written['html']}", markup=False, highlight=False, soft_wrap=True)
    ran = [result for row in comparison.scenarios for result in (row.baseline, row.candidate) if not result.skipped]
    if ran and all(result.trouble and not result.findings for result in ran):
        sys.stderr.write(f"poolproof: no run came to an end; the first: {ran[0].trouble}\n")
        return Exit.BROKEN
    return OF_DECISION[comparison.decision]


@app.command("run")
def run_command(
    scenarios: Scenarios = None,
    pool: Annotated[list[str] | None, typer.Option(help="The pool to run on; may be given several times.")] = None,
    seed: Seed = 1,
    workers: Workers = 4,
    clients: Clients = 8,
    jobs: Jobs = JOBS,
    profile: ProfileOption = Profile.QUICK,
    worker_command: WorkerCommand = None,
    out: Out = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Run scenarios on one pool (v2) or several, and show what the checkers found. What was declared is no failure."""
    found = find_scenarios(scenarios or [], profile=profile)
    subjects = [find_pool(name) for name in pool or ["v2"]]
    request = _request(found, seed, workers, clients, jobs, profile, worker_command)
    folder = out or _new_folder("run")
    with _Keeping(folder), Steps(Console(stderr=True), quiet=quiet) as steps:
        steps.planned(len(found) * len(subjects))
        results = run_jobs(found, subjects, request, folder, jobs=jobs, start_job=start_job, progress=steps)
    ordered = [results[scenario.name, position] for scenario in found for position in range(len(subjects))]
    return _show_results(ordered, {scenario.name: scenario for scenario in found}, as_json=as_json)


@app.command("list")
def list_command(what: Annotated[Listed, typer.Argument(help="What to list.")]) -> int:
    """List the scenarios, pools, faults or checkers that there are."""
    rows: list[tuple[str, ...]]
    match what:
        case Listed.SCENARIOS:
            columns = ("scenario", "shows", "about")
            rows = [(s.name, " ".join((*s.failures, *s.guarantees)), s.summary) for s in all_scenarios().values()]
        case Listed.POOLS:
            columns = ("pool", "can", "about")
            rows = [(s.name, " ".join(sorted(s.capabilities)), s.summary) for s in SUBJECTS.values()]
        case Listed.FAULTS:
            columns = ("fault", "", "about")
            rows = [(kind.value, "", text) for kind, text in DESCRIPTIONS.items()]
        case Listed.CHECKERS:
            columns = ("checker", "", "about")
            rows = [(kind.__name__, "", (kind.__doc__ or "").strip().splitlines()[0]) for kind in ALL]
    show_table(Console(), columns, rows)
    return Exit.GOOD


Run = Annotated[Path, typer.Argument(metavar="RUN", help="A folder that compare, run or pytest has left.")]


@app.command("report")
def report_command(
    run: Run,
    formats: Annotated[
        list[str] | None, typer.Option("--format", help=f"One of {', '.join(FORMATS)}; all if not given.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where to write; beside the data if not given.")
    ] = None,
) -> int:
    """Write the reports of a stored comparison again, or show a stored run's findings."""
    if _is_run(run):
        result = RunFolder(run).read_result()
        return _show_results([result], {}, as_json=False)
    comparison = read_comparison(run)
    home = run if run.is_dir() else run.parent
    for path in write_reports(comparison, out or home, formats or FORMATS).values():
        typer.echo(str(path))
    return Exit.GOOD


@app.command("analyze")
def analyze_command(run: Run, as_json: AsJson = False) -> int:
    """Run the checkers again on what is on disk: of one run, or of every run of a comparison."""
    if _is_run(run):
        folder = RunFolder(run)
        info = folder.read_info()
        scenarios = {scenario.name: scenario for scenario in find_scenarios([info.file or info.scenario])}
        if info.scenario not in scenarios:
            raise UsageError(f"{info.file} no longer defines the scenario {info.scenario!r}")
        result = analyze(scenarios[info.scenario], folder)
        folder.write_result(result)
        return _show_results([result], scenarios, as_json=as_json)
    comparison = reanalyze(read_comparison(run), run if run.is_dir() else run.parent, find_scenarios)
    if as_json:
        sys.stdout.write(msgspec.json.encode(comparison).decode() + "\n")
    else:
        show_decision(Console(), comparison)
    return OF_DECISION[comparison.decision]


@app.command("ps")
def ps_command(as_json: AsJson = False) -> int:
    """List this user's pools on this machine, those of dead owners too."""
    records = list_pools()
    if as_json:
        sys.stdout.write(msgspec.json.encode(records).decode() + "\n")
        return Exit.GOOD
    rows = [
        (
            record.name,
            record.version,
            str(record.owner_pid),
            "alive" if record.owner_alive else "gone",
            record.created_at,
            " ".join(map(str, record.worker_pids)) or "-",
        )
        for record in records
    ]
    show_table(Console(), ("pool", "version", "owner", "owner is", "since", "workers"), rows)
    return Exit.GOOD


@app.command("reap")
def reap_command() -> int:
    """End the workers of pools whose owner is gone, and clear what those pools left. No other process is touched."""
    reaped = reap_orphans()
    for record in reaped:
        killed = " ".join(map(str, record.killed)) or "none was left"
        typer.echo(f"{record.name}: owner {record.owner_pid} is gone; workers ended: {killed}")
    if not reaped:
        typer.echo("nothing to reap")
    return Exit.GOOD


@app.command("doctor")
def doctor_command() -> int:
    """Try out whether pools, runs and reports can work on this machine."""
    found = examine()
    rows = [("ok" if point.well else "BAD", point.name, point.found) for point in found]
    show_table(Console(), ("", "examined", "found"), rows)
    return Exit.GOOD if all(point.well for point in found) else Exit.BAD


@app.command("selfcheck")
def selfcheck_command(
    mutant: Annotated[
        list[str] | None, typer.Option(help="A mutant, such as lifo_queue or v2.lifo_queue; all if none is named.")
    ] = None,
    profile: ProfileOption = Profile.QUICK,
    seeds: Annotated[int, typer.Option(help="With how many seeds, from --seed on; 1 to 100.")] = 1,
    seed: Seed = 1,
    jobs: Jobs = SELFCHECK_JOBS,
    out: Out = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Put the harness to the test: planted bugs that it must find, and good pools that it must not accuse."""
    size = Size()
    request = _request([], seed, size.workers, size.clients, jobs, profile, None)
    folder = out or _new_folder("selfcheck")
    with _Keeping(folder):
        matrix = run_selfcheck(
            find_mutants(mutant or []), request, folder, seeds=seeds, jobs=jobs, quiet=quiet, as_json=as_json
        )
    return OF_VERDICT[matrix.verdict]


@app.command("schema")
def schema_command() -> int:
    """Print the JSON Schema of comparison.json."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(comparison_schema()), indent=2).decode() + "\n")
    return Exit.GOOD


@app.command("worker", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def worker_command_(context: typer.Context) -> int:
    """Be a worker: speak the wire on stdin and stdout (--worker-id N --mode NAME)."""
    return worker_main(context.args)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    command = typer.main.get_command(app)
    try:
        code = command.main(None if arguments is None else list(arguments), "poolproof", standalone_mode=False)
    except typer.TyperException as error:
        if told := error.format_message().strip():  # empty where no command was given: then the help is out already
            _complain(told)
        return Exit.USAGE
    except UsageError as error:
        _complain(str(error))
        return Exit.USAGE
    except (KeyboardInterrupt, typer.Abort):
        sys.stderr.write("poolproof: interrupted\n")
        return Exit.INTERRUPTED
    except SystemExit as left:  # whoever reads our output has gone away
        return left.code if isinstance(left.code, int) else Exit.BROKEN
    except (HarnessError, PoolError, OSError) as error:
        _complain(str(error).replace("\n", " | "))
        return Exit.BROKEN
    except BaseException as error:
        _complain(f"a fault of poolproof itself: {type(error).__name__}: {error}".replace("\n", " | "))
        return Exit.BROKEN
    return int(code or 0)


def _complain(text: str) -> None:
    sys.stderr.write(f"poolproof: {text}\n")


class _Keeping:
    """Says where the records are if the run is interrupted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> None:
        if self._folder.exists() and not self._folder.is_dir():
            raise UsageError(f"--out {self._folder}: there is a file of that name")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is KeyboardInterrupt:
            sys.stderr.write(f"poolproof: interrupted; what was recorded is in {self._folder}\n")


def _request(
    scenarios: Sequence[Scenario],
    seed: int,
    workers: int,
    clients: int,
    jobs: int,
    profile: Profile,
    worker_command: str | None,
) -> Request:
    for option, value, least, most in (
        ("--seed", seed, 0, 2**32 - 1),
        ("--workers", workers, 1, 1024),
        ("--clients", clients, 1, 1024),
        ("--jobs", jobs, 1, 64),
    ):
        if not least <= value <= most:
            raise UsageError(f"{option} {value}: a whole number from {least} to {most}")
    known = None
    if worker_command is not None:
        wanted = sorted({command for scenario in scenarios for command in scenario.commands})
        known = known_commands(worker_command, wanted)
    scale = FULL_SCALE if profile is Profile.FULL else 1.0
    size = Size(workers=workers, clients=clients, scale=scale)
    return Request(seed=seed, size=size, profile=profile, worker_command=worker_command, known_commands=known)


def _new_folder(verb: str) -> Path:
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    return DEFAULT_OUT / f"{verb}-{stamp}-{time.monotonic_ns() % 1000:03d}"


def _is_run(path: Path) -> bool:
    if not path.exists():
        raise UsageError(f"there is no {path}")
    if path.is_dir() and not (path / COMPARISON_FILE).is_file() and not (path / "run.json").is_file():
        raise UsageError(f"{path} holds neither a comparison ({COMPARISON_FILE}) nor a run (run.json)")
    return path.is_dir() and (path / "run.json").is_file()


def _show_results(results: Sequence[RunResult], scenarios: dict[str, Scenario], *, as_json: bool) -> int:
    verdicts = []
    console = Console()
    for result in results:
        scenario = scenarios.get(result.scenario) or all_scenarios().get(result.scenario)
        declared = {
            found.checker: reason.reason
            for found in result.findings
            if scenario is not None and (reason := scenario.intended(result.pool, found.checker)) is not None
        }
        verdict = result.verdict
        if verdict is Verdict.FAIL and not result.trouble:
            verdict = worst(
                f.verdict for f in result.findings if f.verdict is not Verdict.FAIL or f.checker not in declared
            )
        verdicts.append(verdict)
        if not as_json:
            show_result(console, result, declared)
    if as_json:
        sys.stdout.write(msgspec.json.encode(list(results)).decode() + "\n")
    return OF_VERDICT[worst(verdicts)]


if __name__ == "__main__":
    sys.exit(main())

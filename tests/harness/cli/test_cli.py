"""The command line as a person and a CI system use it: what it does, what it says, and how it exits."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import jsonschema
import pytest

from poolproof.bridge import PoolConfig
from poolproof.harness.cli.app import main
from poolproof.harness.subjects.pools import find_pool
from poolproof.reports.schema import Document, schema_of

Write = Callable[[str], str]
Capture = pytest.CaptureFixture[str]

TINY = """
from poolproof.harness.checkers import CORE, FaultLanded, OneOutcome
from poolproof.harness.model.fault import FaultKind
from poolproof.harness.model.scenario import IntendedDifference, Scenario
from poolproof.harness.model.workload import Size, steady

SIZE = Size(workers=1, clients=2)
TINY = Scenario(name="tiny", summary="two echoes a client", workload=steady("echo", calls=2),
                checkers=(OneOutcome(), *CORE), fixed_size=SIZE)
"""
FAILING = (
    TINY
    + """
NEVER = OneOutcome(allowed=frozenset({"CallTimeout"}))
FAILING = Scenario(name="failing", summary="expects what never happens", workload=steady("echo", calls=1),
                   checkers=(NEVER, *CORE), fixed_size=SIZE)
"""
)
DECLARED = (
    FAILING
    + """
DECLARED = Scenario(name="declared", summary="the same, declared", workload=steady("echo", calls=1),
                    checkers=(NEVER, *CORE), fixed_size=SIZE, intended_differences=(
                        IntendedDifference(pool="v1", checker="one_outcome", reason="it never did"),))
"""
)
OPEN = (
    TINY
    + """
OPEN = Scenario(name="open", summary="a fault that never lands", workload=steady("echo", calls=1),
                checkers=(OneOutcome(), FaultLanded(kinds=(FaultKind.KILL,)), *CORE), fixed_size=SIZE)
"""
)


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a scenario file into the current folder, which is a new one."""
    monkeypatch.chdir(tmp_path)

    def put(text: str) -> str:
        (tmp_path / "mine.py").write_text(text)
        return "mine.py"

    return put


def test_a_comparison_of_two_good_pools_is_safe_and_leaves_all_reports(
    write: Write, capsys: Capture, tmp_path: Path
) -> None:
    assert main(["compare", write(TINY), "--out", "kept"]) == 0
    told = capsys.readouterr()
    assert told.out.startswith("SAFE: v2 replacing v1\n")
    assert "report: kept/report.html" in told.out
    assert "tiny (execute, not observed) on v2: pass" in told.err
    kept = tmp_path / "kept"
    assert {path.name for path in kept.iterdir()} == {
        "comparison.json",
        "ctrf.json",
        "junit.xml",
        "report.html",
        "report.md",
        "runs",
    }
    jsonschema.validate(json.loads((kept / "comparison.json").read_text()), schema_of(Document.COMPARISON))

    assert main(["analyze", "kept", "--import", "mine.py"]) == 0
    assert capsys.readouterr().out.startswith("SAFE")
    assert main(["analyze", str(kept / "runs" / "tiny-v1-1"), "--import", "mine.py"]) == 0
    assert "tiny on v1, face execute, " in capsys.readouterr().out
    (kept / "report.md").unlink()
    assert main(["report", "kept", "--format", "md"]) == 0
    assert (kept / "report.md").read_text().startswith("## poolproof: SAFE")


def test_a_second_comparison_in_the_same_folder_replaces_the_first_and_tells_what_changed(
    write: Write, capsys: Capture, tmp_path: Path
) -> None:
    assert main(["compare", write(FAILING), "-q", "--out", "kept"]) == 1
    assert "since the comparison" not in capsys.readouterr().out
    kept = tmp_path / "kept"
    first = {path.name for path in (kept / "runs").iterdir()}
    assert main(["compare", write(FAILING.replace("(NEVER,", "(OneOutcome(),")), "-q", "--out", "kept"]) == 0

    assert ": 0 new, 1 fixed, 0 still there, 0 not judged again\n" in capsys.readouterr().out
    assert len(list((kept / "runs").iterdir())) == len(first), "the runs of the first comparison are gone"
    for page in ("report.html", "report.md"):
        assert ": 0 new, 1 fixed, 0 still there" in (kept / page).read_text()
    assert main(["analyze", "kept", "--import", "mine.py"]) == 0


def test_an_earlier_comparison_can_be_named(write: Write, capsys: Capture, tmp_path: Path) -> None:
    assert main(["compare", write(TINY), "-q", "--out", "kept"]) == 0
    capsys.readouterr()
    assert main(["compare", write(TINY), "-q", "--out", "other", "--since", "kept"]) == 0
    assert "since the comparison of" in capsys.readouterr().out
    assert main(["compare", write(TINY), "-q", "--out", "other", "--since", "nowhere"]) == 2
    assert "there is no nowhere" in capsys.readouterr().err


def test_an_undeclared_failure_is_unsafe(write: Write, capsys: Capture) -> None:
    assert main(["compare", write(FAILING), "-q"]) == 1
    told = capsys.readouterr()
    assert told.out.startswith("UNSAFE: v2 replacing v1\n")
    assert "failing: v2, face execute, not observed fails one_outcome" in told.out
    assert told.err == ""


def test_what_cannot_be_decided_is_inconclusive(write: Write, capsys: Capture) -> None:
    assert main(["compare", write(OPEN), "-q", "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["decision"] == "INCONCLUSIVE"


def test_run_shows_findings_and_exits_by_the_verdict(write: Write, capsys: Capture) -> None:
    file = write(DECLARED)
    assert main(["run", file, "--pool", "v1", "-q", "--out", "kept"]) == 1
    told = capsys.readouterr().out
    assert "tiny on v1, face execute, not observed, seed 1: pass" in told
    assert "failing on v1, face execute, not observed, seed 1: fail\n" in told
    assert "declared on v1, face execute, not observed, seed 1: fail, as declared" in told
    assert "declared beforehand: it never did" in told
    folder = next(Path("kept").glob("declared-v1-*"))
    assert main(["analyze", str(folder), "--import", "mine.py"]) == 0
    assert main(["report", str(folder)]) == 1
    capsys.readouterr()
    assert main(["run", write(DECLARED.replace("reason=", "until='2020-01-01', reason=")), "--pool", "v1", "-q"]) == 1
    told = capsys.readouterr().out
    assert "warning: one_outcome: the declaration of this failure ran out on 2020-01-01: it never did" in told
    assert "as declared" not in told
    assert main(["run", write(OPEN), "-q", "--json"]) == 3
    told = json.loads(capsys.readouterr().out)
    assert [(result["verdict"], result["observed"]) for result in told] == [
        ("pass", False),
        ("pass", True),
        ("unknown", False),
        ("unknown", True),
    ]


def test_a_pool_of_ones_own_is_named_by_its_factory(
    write: Write, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "my_pools_of_cli.py").write_text("from poolproof.pool_v2 import PoolV2 as Mine\n")
    assert main(["run", write(TINY), "--pool", "my_pools_of_cli:Mine", "-q", "--out", "kept"]) == 0
    assert "tiny on my_pools_of_cli:Mine, face execute, not observed, seed 1: pass" in capsys.readouterr().out
    name = "tiny-my_pools_of_cli_Mine-1"
    assert {folder.name for folder in Path("kept").iterdir()} == {name, f"{name}-unobserved"}
    assert main(["compare", "mine.py", "--baseline", "v2", "--candidate", "my_pools_of_cli:Mine", "-q"]) == 0
    assert capsys.readouterr().out.startswith("SAFE: my_pools_of_cli:Mine replacing v2\n")


def test_a_difference_that_was_declared_and_not_seen_is_a_warning_on_every_way_out(
    write: Write, capsys: Capture
) -> None:
    file = write(DECLARED.replace("(NEVER, *CORE)", "(OneOutcome(), *CORE)"))
    told = "declared: v1 was declared to fail one_outcome, but did not fail it"
    assert main(["run", file, "--pool", "v1", "-q"]) == 0
    assert f"warning: {told}" in capsys.readouterr().out
    assert main(["run", file, "--pool", "v1", "-q", "--json"]) == 0
    assert f"warning: {told}" in capsys.readouterr().err
    assert main(["compare", file, "-q", "--out", "compared"]) == 0
    assert f"warning: {told}" in capsys.readouterr().out
    for report in ("report.html", "report.md", "comparison.json", "junit.xml"):
        assert told in (Path("compared") / report).read_text().replace("\\", ""), report


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["compare", "paralel_calls"], "there is no scenario 'paralel_calls'; did you mean 'parallel_calls'?"),
        (["compare", "nowhere.py"], "there is no file nowhere.py"),
        (["compare", "--candidate", "v3"], "there is no pool 'v3'; there are v1, v2"),
        (["compare", "--workers", "0"], "--workers 0: must be a whole number from 1 to 1024"),
        (["compare", "--jobs", "65"], "--jobs 65: must be a whole number from 1 to 64"),
        (["run", "--clients", "1025"], "--clients 1025: must be a whole number from 1 to 1024"),
        (["run", "--seed", "-1"], "--seed -1: must be a whole number from 0 to 4294967295"),
        (
            ["compare", "--workers", "many"],
            "--workers 'many': a whole number is expected (Worker processes of each pool, 1 to 1024)",
        ),
        (["compare", "--seed", "1.5"], "--seed '1.5': a whole number is expected"),
        (["bench", "--margin", "x"], "--margin 'x': a number is expected"),
        (["bench", "--margin", "5"], "--margin 5: must be a number from 0.001 to 1; 5 % is 0.05"),
        (["bench", "--block-seconds", "0"], "--block-seconds 0: must be a number from 0.01 to 600"),
        (["bench", "--call", ""], "the call '': expected a command and a JSON object"),
        (["bench", "--call", "sleeep {}"], "--call 'sleeep {}': v1 answered with an error: unknown command"),
        (["bench", "--out", "taken"], "--out taken: there is a file of that name"),
        (["bench", "--out", "taken/in"], "--out taken/in: the folder cannot be made"),
        (["sweep", "--out", "taken"], "--out taken: there is a file of that name"),
        (["compare", "parallel_calls", "--out", "/proc/none"], "--out /proc/none: the folder cannot be made"),
        (
            ["compare", "parallel_calls", "--coverage-source", "no_such"],
            "--coverage-source 'no_such': there is no such",
        ),
        (["baseline", "save", "x", "--from", "nofile"], "--from nofile: there is no such file"),
        (["baseline", "save", "../x"], "the baseline's name '../x'"),
        (["baseline", "check", "x", "--from", "nofile"], "there is no baseline 'x'"),
        (
            ["history", "--metric", "p95"],
            "--metric 'p95': must be one of throughput, p10, p50, p90, p99; did you mean 'p99'?",
        ),
        (["migrate", "start", "--state", "none/x.json"], "--state none/x.json: there is no folder"),
        (["migrate", "validate", "--docs", "nodir"], "--docs nodir: there is no such folder"),
        (["migrate", "canary", "abc"], "percent 'abc': a whole number is expected"),
        (["compare", "--profile", "slow"], "'--profile'"),
        (["compare", "--wrokers", "2"], "--wrokers"),
        (["compair"], "'compair'"),
        (["list", "everything"], "'everything'"),
        (["compare", "parallel_calls", "--worker-command", "python3 'x"], 'worker_command "python3 \'x": '),
        (["compare", "parallel_calls", "--worker-command", "/no/such/program"], "cannot execute '/no/such/program'"),
        (["compare", "parallel_calls", "--worker-command", "true"], "the worker command 'true' starts no worker"),
        (["report", "nowhere"], "there is no nowhere"),
        (["report", "."], "holds neither a comparison"),
        (["analyze", "."], "holds neither a comparison"),
        (["compare", "parallel_calls", "--out", "taken"], "--out taken: there is a file of that name"),
    ],
)
def test_bad_input_is_one_line_that_names_it(arguments: list[str], told: str, write: Write, capsys: Capture) -> None:
    write(TINY)
    Path("taken").write_text("")
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("poolproof: ")
    assert told in said.err
    assert said.err.count("\n") == 1


def test_a_scenario_file_that_breaks_is_one_line(write: Write, capsys: Capture) -> None:
    assert main(["compare", write("raise LookupError('not today')")]) == 2
    assert capsys.readouterr().err == "poolproof: mine.py cannot be loaded: LookupError: not today\n"
    assert main(["compare", write("x = 1")]) == 2
    assert "defines no Scenario" in capsys.readouterr().err


def test_a_damaged_record_is_a_failure_of_the_run_itself(write: Write, capsys: Capture, tmp_path: Path) -> None:
    write(TINY)
    Path("comparison.json").write_text("{")
    assert main(["report", "."]) == 4
    assert "is damaged" in capsys.readouterr().err


def test_a_fault_of_the_tool_is_one_line_and_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def break_down(_: object) -> None:
        raise RuntimeError("planted\nhere")

    monkeypatch.setattr("poolproof.harness.cli.commands.machine.doctor.examine", break_down)
    assert main(["doctor"]) == 4
    assert capsys.readouterr().err == "poolproof: internal error (a bug in poolproof): RuntimeError: planted | here\n"


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("scenarios", "parallel_calls\tF1 G10"),
        ("pools", "v1\t"),
        ("faults", "kill\t"),
        ("checkers", "OneOutcome\t"),
        ("faces", "asyncio\tv2 nodes ray\t"),
    ],
)
def test_list_tells_what_there_is(what: str, expected: str, capsys: Capture) -> None:
    assert main(["list", what]) == 0
    assert any(line.startswith(expected) for line in capsys.readouterr().out.splitlines())


def test_list_tells_the_scenarios_of_every_suite_or_of_one(capsys: Capture) -> None:
    def listed(*options: str) -> set[str]:
        assert main(["list", "scenarios", *options]) == 0
        return {line.partition("\t")[0] for line in capsys.readouterr().out.splitlines()}

    default, programs = listed("--suite", "default"), listed("--suite", "dspy")
    assert "parallel_calls" in default
    assert not default & programs
    assert listed() == default | programs
    assert main(["list", "scenarios", "--suite", "dsp"]) == 2
    assert "there is no suite 'dsp'; there are default, dspy" in capsys.readouterr().err
    assert main(["list", "pools", "--suite", "dspy"]) == 2
    assert "only scenarios belong to suites; pools do not" in capsys.readouterr().err


def test_ps_and_reap_know_the_pools_of_this_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Capture
) -> None:
    monkeypatch.setenv("POOLPROOF_RUNTIME_DIR", str(tmp_path / "runtime"))
    pool = find_pool("v2").make(PoolConfig(name="seen", workers=1), None)
    with pool:
        pool.warm_up()
        assert main(["ps"]) == 0
        assert capsys.readouterr().out.startswith("seen\tv2\t")
        assert main(["ps", "--json"]) == 0
        [record] = json.loads(capsys.readouterr().out)
        assert record["owner_alive"] is True
        assert len(record["worker_pids"]) == 1
        assert main(["reap"]) == 0
        assert capsys.readouterr().out == "nothing to do: every pool's owner is alive\n"
        assert pool.execute("echo", {"value": 1}) == 1


def test_schema_is_valid_json_and_doctor_finds_this_machine_well(capsys: Capture) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(schema_of(Document.COMPARISON)))
    for document in Document:
        assert main(["schema", document.value]) == 0
        schema = json.loads(capsys.readouterr().out)
        jsonschema.Draft202012Validator.check_schema(schema)
        assert f":{document.value}:" in schema["$id"]
    assert main(["schema", "benches"]) == 2
    told = capsys.readouterr().err
    assert all(document in told for document in ("comparison", "bench", "sweep"))
    assert main(["doctor"]) == 0
    assert "BAD" not in capsys.readouterr().out


def test_the_version_is_told(capsys: Capture) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"poolproof {metadata.version('poolproof')}\n"


def test_a_reader_that_goes_away_is_no_verdict() -> None:
    command = [sys.executable, "-m", "poolproof", "list", "scenarios"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(60) == 141


def test_no_command_shows_the_help(capsys: Capture) -> None:
    assert main([]) == 2
    told = capsys.readouterr()
    assert "compare" in told.out + told.err


EXITS = """
from poolproof.harness.checkers import CORE, OneOutcome
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.workload import Size, Step

ECHO, EXIT = Step(command="echo"), Step(command="exit")
EXITS = Scenario(name="exits", summary="a worker exits", workload=lambda choice, size: ((ECHO, EXIT), (ECHO,)),
                 checkers=(OneOutcome(), *CORE), fixed_size=Size(workers=2, clients=2))
"""


def test_a_failed_run_is_replayed_and_shrunk(write: Write, capsys: Capture) -> None:
    assert main(["run", write(EXITS), "-q", "--out", "kept"]) == 1
    told = capsys.readouterr().out
    replay = f"poolproof run {Path('mine.py').resolve()}::exits --pool v2 --seed 1 --workers 2 --clients 2"
    replay += " --face execute --not-observed"
    assert f"      to run it again: {replay}\n" in told
    assert main([*shlex.split(replay)[1:], "-q"]) == 1
    capsys.readouterr()
    bounds = ["--repeats", "1", "--max-runs", "12"]
    assert main(["shrink", "kept/exits-v2-1", "--out", "small", *bounds]) == 2
    assert "--import" in capsys.readouterr().err
    assert main(["shrink", "kept/exits-v2-1", "--out", "small", "--import", "mine.py", *bounds]) == 0
    told, progress = capsys.readouterr()
    assert "one_outcome of exits on v2, seed 1: 3 → 1 ops, 2 → 1 clients, 0 → 0 faults, 2 → 1 workers\n" in told
    assert "reproduces in 1 of 1 runs (95 % interval 21% to 100%)" in told
    assert "the hint: fails" in progress
    again = shlex.split(told.splitlines()[-1].removeprefix("to run it again: "))
    assert main([*again[1:], "-q"]) == 1
    assert "call 0 (exit) ended as WorkerCrashed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["no_such_folder"], "there is no no_such_folder"),
        (["kept/tiny-v2-1", "--import", "mine.py"], "the run of 'tiny' on v2 has no failure to shrink"),
        (["kept/tiny-v2-1", "--max-runs", "10"], "--max-runs 10: --repeats 5 takes 10 of them"),
        (["kept/tiny-v2-1", "--repeats", "0"], "--repeats 0: must be a number from 1 to 1000"),
    ],
)
def test_what_cannot_be_shrunk_is_told(write: Write, capsys: Capture, arguments: list[str], told: str) -> None:
    assert main(["run", write(TINY), "-q", "--out", "kept"]) == 0
    capsys.readouterr()
    assert main(["shrink", *arguments]) == 2
    assert told in capsys.readouterr().err


def test_open_shows_the_report_and_writes_it_if_it_is_missing(
    write: Write, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda address: bool(shown.append(address)))
    assert main(["open"]) == 2
    assert "there is no comparison in out" in capsys.readouterr().err
    assert main(["compare", write(TINY), "--out", "out/c", "--quiet", "--seed", "3"]) == 0
    Path("out/c/report.html").unlink()
    assert main(["open"]) == 0
    assert main(["open", "out/c"]) == 0
    assert shown == [Path("out/c/report.html").absolute().as_uri()] * 2
    assert "no browser could be opened" in capsys.readouterr().err
    assert Path("out/c/report.html").stat().st_size > 300_000
    Path("out/empty").mkdir()
    assert main(["open", "out/empty"]) == 2
    assert main(["site", "out"]) == 0
    assert "c</a>" in Path("out/index.html").read_text()
    assert main(["open", "out"]) == 0
    assert shown[-1].endswith("/out/index.html")
    assert main(["site", "none"]) == 2
    run = Path("out/c/runs/tiny-v2-3")
    capsys.readouterr()
    assert main(["report", str(run), "--format", "html"]) == 2
    assert "is one run, which can be shown as json" in capsys.readouterr().err
    assert main(["report", str(run), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["picture"]["steps"]


def test_less_than_the_declared_minimum_is_inconclusive(write: Write, capsys: Capture) -> None:
    file = write(TINY)
    assert main(["compare", file, "--out", "few", "--quiet", "--least-cells", "2"]) == 3
    assert "1 cells (combinations of fault, workload and configuration) were passed" in capsys.readouterr().out
    for option, value in (("--least-cells", "-1"), ("--least-lines", "101"), ("--least-lines", "50")):
        assert main(["compare", file, option, value]) == 2
        assert f"{option} {value}" in capsys.readouterr().err


def test_coverage_tells_what_a_scenario_executed_of_the_candidate_and_its_workers(write: Write) -> None:
    main(["compare", write(TINY), "--out", "covered", "--quiet", "--coverage", "--least-lines", "5"])
    cover = json.loads(Path("covered/comparison.json").read_text())["coverage"]
    assert cover["sources"] == ["poolproof.pool_v2", "poolproof.bridge"]
    files = {Path(file["path"]).as_posix(): file for file in cover["files"]}
    for ending in ("pool_v2/running/runtime.py", "bridge/worker/program.py"):
        [file] = [file for name, file in files.items() if name.endswith(ending)]
        assert 0 < file["executed"] < file["statements"], ending
        assert file["missing"]
    assert [one["scenario"] for one in cover["scenarios"]] == ["tiny"]
    assert cover["scenarios"][0]["alone"] == cover["scenarios"][0]["lines"] > 300


PRELOADING = (
    TINY
    + """
PRELOADING = Scenario(name="preloading", summary="forks its workers", workload=steady("echo", calls=1),
                      checkers=CORE, fixed_size=SIZE, config_of={"v2": {"preload": ("json",)}})
"""
)


@pytest.mark.parametrize("words", [["compare", "-q"], ["run", "--pool", "v2", "-q"], ["bench"]])
def test_a_foreign_worker_that_a_scenario_would_fork_is_invalid_usage(
    write: Write, capsys: Capture, words: list[str]
) -> None:
    assert main([*words, f"{write(PRELOADING)}::preloading", "--worker-command", "no-such-worker"]) == 2
    told = capsys.readouterr().err
    assert "--worker-command 'no-such-worker'" in told
    assert "the scenario 'preloading' sets preload ('json',) for v2" in told

"""The commands that measure and remember, from end to end and short: what they print, keep, refuse and exit with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from poolproof.harness.cli.app import main
from poolproof.reports.schema import Document, schema_of

Capture = pytest.CaptureFixture[str]
SHORT = ("--rounds", "5", "--block-seconds", "0.05", "--workers", "2", "-q")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime_dir: Path) -> Path:
    """A new folder, with a store and a gate of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("POOLPROOF_STORE", raising=False)
    return tmp_path


@pytest.fixture
def change_machine() -> Callable[[Path], None]:
    """Pretend that a bench.json was taken on another machine."""

    def change(path: Path) -> None:
        told = json.loads(path.read_text())
        told["machine"]["processor"] = "another"
        path.write_text(json.dumps(told))

    return change


@pytest.fixture
def slower() -> Callable[[Path, Path], None]:
    """Write a copy of a bench.json whose candidate is so slow that no noise of this machine hides it."""

    def change(path: Path, copy: Path) -> None:
        told = json.loads(path.read_text())
        for test in told["benches"][0]["tests"]:
            if test["ratio"]:
                factor = 1e9 if test["better"] == "lower" else 1e-9
                test["ratio"] = {name: value * factor for name, value in test["ratio"].items()}
        copy.write_text(json.dumps(told))

    return change


def test_a_bench_is_kept_shown_saved_checked_and_remembered(
    here: Path, capsys: Capture, change_machine: Callable[[Path], None], slower: Callable[[Path, Path], None]
) -> None:
    code = main(["bench", *SHORT, "--out", "b", "--budget", "v2.errors <= v1.errors"])
    shown = capsys.readouterr().out
    assert code in (0, 1, 3)
    assert "v2 against v1, workload short_calls" in shown
    assert "budget pass: v2.errors <= v1.errors" in shown
    assert "kept: b/bench.json" in shown
    told = json.loads((here / "b" / "bench.json").read_text())
    jsonschema.validate(told, schema_of(Document.BENCH))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({key: value for key, value in told.items() if key != "benches"}, schema_of(Document.BENCH))
    assert [bench["work"] for bench in told["benches"]] == ["short_calls"]
    assert (here / "b" / "bench.md").read_text().startswith("## ")

    assert main(["baseline", "save", "main", "--from", "b"]) == 0
    assert main(["baseline", "save", "main", "--from", "b"]) == 2
    assert main(["baseline", "list"]) == 0
    assert "main\t" in capsys.readouterr().out
    assert main(["baseline", "show", "main", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["benches"][0]["candidate"] == "v2"
    code = main(["baseline", "check", "main", "--from", "b", "--json"])
    changes = json.loads(capsys.readouterr().out)
    assert code in (0, 3)  # the same figures: nothing is worse
    assert {change["change"]["value"] for change in changes} == {1.0}

    slower(here / "b" / "bench.json", here / "slow.json")
    assert main(["baseline", "check", "main", "--from", "slow.json"]) == 3
    assert "one measurement does not prove it" in capsys.readouterr().err
    assert main(["baseline", "check", "main", "--from", "slow.json", "--from", "b"]) == 3
    assert main(["baseline", "check", "main", "--from", "slow.json", "--from", "slow.json"]) == 1
    capsys.readouterr()

    change_machine(here / "b" / "bench.json")
    assert main(["baseline", "check", "main", "--from", "b"]) == 2
    said = capsys.readouterr().err
    assert "is of another machine: the processor was" in said
    assert "--allow-machine-change" in said
    assert main(["baseline", "check", "main", "--from", "b", "--allow-machine-change"]) in (0, 3)
    capsys.readouterr()

    assert main(["history", "--metric", "throughput"]) == 0
    assert "v2 / v1" in capsys.readouterr().out
    assert main(["history", "--metric", "p51"]) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["bench", "--budget", "v2.p98 < 1ms"], "column 4: there is no metric 'p98'"),
        (["bench", "--budget", "v3.p99 < 1ms"], "column 1: there is no pool 'v3' in this bench; there are v1, v2"),
        (["bench", "--load", "poison:3"], "the load 'poison:3'"),
        (["bench", "--candidate", "slower:0"], "slower:PERCENT"),
        (["bench", "--clients", "0"], "--clients 0: must be a whole number from 1 to 1024"),
        (["bench", "--rounds", "0"], "rounds 0"),
        (["bench", "nothing"], "nothing"),
        (["bench", "worker_crash"], "injects faults"),
        (["bench", "--call", "sleep []"], "a command and a JSON object"),
        (["sweep", "--workers", "0"], "--workers '0'"),
        (["sweep", "--workers", "none", "--clients", "none"], "at least one size"),
        (["baseline", "check", "none"], "there is no baseline 'none'"),
        (["baseline", "show", "a/b"], "the baseline's name 'a/b'"),
    ],
)
def test_bad_input_is_one_error_with_status_2(here: Path, capsys: Capture, arguments: list[str], said: str) -> None:
    assert main(arguments) == 2
    assert said in capsys.readouterr().err


def test_a_sweep_is_kept(here: Path, capsys: Capture) -> None:
    sizes = ["--workers", "1,2", "--clients", "none", "--rounds", "1", "--block-seconds", "0.2"]
    assert main(["sweep", "--pool", "v2", *sizes, "--call", 'sleep {"seconds": 0.01}', "--out", "s", "-q"]) == 0
    assert "v2 against workers: too few points" in capsys.readouterr().out
    told = json.loads((here / "s" / "sweep.json").read_text())
    assert [point["workers"] for point in told["points"]] == [1, 2]
    jsonschema.validate(told, schema_of(Document.SWEEP))


def test_the_bench_puts_itself_to_the_test(here: Path, capsys: Capture) -> None:
    assert main(["bench", *SHORT, "--check-yourself", "1", "--out", "c"]) in (0, 1)
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["equal", "planted"]
    assert all("of 1 quick measurements" in line for line in lines)
    told = json.loads((here / "c" / "alarms.json").read_text())
    assert [len(check["repetitions"]) for check in told] == [1, 1]

"""The command `top`: the living pools of this machine, their rates between two looks, and pools that tell nothing."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from poolproof.bridge import PoolConfig
from poolproof.bridge.interface import PoolFigures
from poolproof.bridge.processes.rundir.asking import Answered
from poolproof.bridge.processes.rundir.orphans import PoolRecord
from poolproof.harness.cli.app import main
from poolproof.harness.cli.commands.machine.top import COLUMNS, cells, compare_figures
from poolproof.pool_v1 import PoolV1
from poolproof.pool_v2 import PoolV2

Capture = pytest.CaptureFixture[str]
RECORD = PoolRecord(name="one", version="v2", owner_pid=7, owner_alive=True, created_at="?", worker_pids=())
EARLIER = PoolFigures(
    at_ns=1_000_000_000,
    name="one",
    version="v2",
    state="open",
    target=4,
    workers={"idle": 1, "leased": 3},
    waiting=5,
    in_flight=8,
    sessions=2,
    ended={"result": 10, "CommandError": 4, "WorkerCrashed": 1},
    response_s=tuple(place / 1000 for place in range(1, 101)),
)
LATER = msgspec.structs.replace(
    EARLIER, at_ns=3_000_000_000, ended={"result": 110, "CommandError": 4, "WorkerCrashed": 1, "CallTimeout": 2}
)


def test_rates_are_per_second_since_the_look_before() -> None:
    first = compare_figures(Answered(record=RECORD, figures=EARLIER), None)
    assert (first.calls_per_s, first.failed_per_s, first.failed) == (None, None, 1)
    second = compare_figures(Answered(record=RECORD, figures=LATER), EARLIER)
    assert (second.calls_per_s, second.failed_per_s, second.failed) == (51.0, 1.0, 3)
    assert (second.p50_s, second.p99_s) == (0.051, 0.1)
    assert dict(zip(COLUMNS, cells(second), strict=True)) == {
        "pool": "one",
        "owner": "7",
        "state": "open",
        "workers": "4 of 4 (1 idle, 3 leased)",
        "waiting": "5",
        "calls/s": "51.0",
        "p50": "51.00 ms",
        "p99": "100.00 ms",
        "sessions": "2",
        "failed": "3",
        "failed/s": "1.0",
    }


def test_a_pool_without_figures_has_the_reason_in_their_place() -> None:
    line = compare_figures(Answered(record=RECORD, why="it does not answer"), EARLIER)
    assert len(cells(line)) == len(COLUMNS)
    assert cells(line)[:3] == ("one", "7", "it does not answer")


def test_top_shows_the_pools_of_this_machine_as_lines_and_as_json(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Capture
) -> None:
    monkeypatch.setenv("POOLPROOF_RUNTIME_DIR", str(tmp_path / "runtime"))
    assert main(["top", "--count", "1"]) == 0
    assert capsys.readouterr().out == ""
    with PoolV2(PoolConfig(name="seen", workers=1)) as pool, PoolV1(PoolConfig(name="old", workers=1)):
        pool.warm_up()
        pool.execute("echo", {"value": 1})
        assert main(["top", "--count", "2", "--interval", "0.1"]) == 0
        lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
        assert [line[0] for line in lines] == ["old", "seen", "old", "seen"]
        assert lines[0][2] == "it gives no figures: a v1 pool, or one of an earlier version"
        assert lines[1][2:6] == ["open", "1 of 1 (1 idle)", "0", "-"]
        assert lines[3][5] == "0.0"
        assert main(["top", "--count", "1", "--json"]) == 0
        [old, seen] = json.loads(capsys.readouterr().out)
        assert old["why"]
        assert (seen["name"], seen["workers"], seen["failed"]) == ("seen", {"idle": 1}, 0)
        assert seen["p50_s"] > 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--interval", "0"], "--interval 0: must be from 0.1 to 3600 seconds"),
        (["--interval", "nan"], "--interval nan: must be from 0.1 to 3600 seconds"),
        (["--count", "-1"], "--count -1: must be 0 or more"),
    ],
)
def test_a_bad_option_is_one_line(words: list[str], told: str, capsys: Capture) -> None:
    assert main(["top", *words]) == 2
    assert told in capsys.readouterr().err

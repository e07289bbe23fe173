"""Recorded traffic is replayed at its times, each session in order; a difference is the candidate's, or noise."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from poolproof.bridge import PoolConfig
from poolproof.bridge.recording import Call, Recorder, RecordingPool
from poolproof.harness.cli.app import main
from poolproof.harness.traffic.replay import replay
from poolproof.pool_v1 import PoolV1
from tests.harness.conftest import fake_pool  # noqa: F401 - a fixture

MS = 1_000_000


def _call(at_ms: int, command: str = "echo", session: str | None = None, value: Any = 1, **fields: Any) -> Call:
    usual: dict[str, Any] = {"outcome": "result", "value": value}
    return Call(at_ms * MS, MS, 1, session, command, {"value": value}, **{**usual, **fields})


class Noting:
    """A pool that notes the order of its calls; calls of `slow` wait until another call has come."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None]] = []
        self.came = threading.Event()

    def execute(self, command: str, args: Any = None, *, session: str | None = None) -> Any:
        if command == "slow":
            assert self.came.wait(30), "a slow call kept another one waiting"
        self.asked.append((command, session))
        if command == "quick":
            self.came.set()
        return args["value"]


def test_a_slow_call_delays_only_its_own_session() -> None:
    pool: Any = Noting()
    calls = [_call(0, "slow", "a"), _call(1, "after", "a"), _call(2, "quick", "b"), _call(3, "quick")]
    found = replay(pool, calls, speed=2.0)
    assert [answer.value for answer in found] == [1, 1, 1, 1]
    assert pool.asked.index(("slow", "a")) < pool.asked.index(("after", "a"))
    assert pool.asked.index(("quick", "b")) < pool.asked.index(("slow", "a"))


def test_a_recording_of_a_pool_is_compared_on_both_pools(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "calls.rec"
    with RecordingPool(PoolV1(PoolConfig(workers=1)), file) as pool:
        for number in range(10):
            pool.execute("echo", {"value": number})
            pool.execute("append", {"key": "k", "value": number}, session=f"s{number % 2}")
    code = main(["compare", "--traffic", str(file), "--workers", "2", "--speed", "2"])
    told = capsys.readouterr()
    assert code == 0, told
    assert "20 calls: 20 alike (0 not as recorded), 0 vary as the baseline does, 0 different, 0 undecided" in told.out
    assert told.out.endswith("PASS: v2 replacing v1\n")
    lying = tmp_path / "lying.rec"
    recorder = Recorder(lying, pool="p")
    recorder.note(0, None, "echo", {"value": 1}, 2)
    recorder.close()
    assert main(["compare", "--traffic", str(lying), "--workers", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["calls"], found["changed"], found["verdict"]) == (1, 1, "pass")
    for words, message in (
        (["--traffic", str(tmp_path / "none")], "cannot be read"),
        (["--traffic", str(file), "--ignore", "created"], "'created' is not a path such as"),
        (["--ignore", "$.created"], "--comparers and --ignore need --traffic"),
        (["--traffic", str(file), "--speed", "0"], "--speed 0: must be a number from 0.01 to 1000"),
    ):
        assert main(["compare", *words]) == 2
        assert message in capsys.readouterr().err

"""The soak and the storm: they find what grows, and what is wrong, and say how late the machine itself was."""

from __future__ import annotations

import json
import sys
from typing import Any, cast

import msgspec
import pytest

from benchmarks import soak, storm
from benchmarks.resources import Held
from poolproof.pool_v2 import PoolV2

HELD = Held(rss_mib=30.0, descriptors=32, threads=4, children=4, zombies=0, files=3)


@pytest.mark.parametrize(
    ("more", "grown"),
    [
        ({}, []),
        ({"rss_mib": 33.0, "descriptors": 36}, []),
        ({"rss_mib": 39.0}, []),
        ({"rss_mib": 60.0}, ["memory has grown by 30.0 MiB"]),
        ({"descriptors": 37, "files": 103}, ["5 descriptors more", "100 files more"]),
    ],
)
def test_what_grows_with_the_work_is_found(more: dict[str, float], grown: list[str]) -> None:
    assert soak.growth(HELD, msgspec.structs.replace(HELD, **more), 1_000_000) == grown


def test_every_part_is_carried_out_in_stretches(capsys: pytest.CaptureFixture[str]) -> None:
    assert soak.main(["--calls", "100", "--replacements", "20", "--sessions", "20"]) == 0
    lines = capsys.readouterr().out.splitlines()
    looks = [json.loads(line) for line in lines if line.startswith("{")]
    assert [look["part"] for look in looks[:: soak.STRETCHES]] == ["calls", "replacements", "sessions"]
    assert [look["done"] for look in looks[: soak.STRETCHES]] == list(range(10, 101, 10))
    assert [line for line in lines if not line.startswith("{")] == [
        "calls: flat",
        "replacements: flat",
        "sessions: flat",
    ]


def test_sessions_that_stay_are_told() -> None:
    told: list[str] = []
    kept = soak.Part("sessions", {}, lambda pool, n: pool.execute_in_session(f"s{n}", "put", {"key": "k", "value": n}))
    assert not soak.soak(kept, 20, told.append)
    assert told[-1] == "sessions: 20 sessions are left"


def test_a_wrong_answer_ends_the_soak() -> None:
    with pytest.raises(AssertionError, match="another answer"):
        soak.one_call(cast(PoolV2, Liar()), 1)


class Liar:
    """A pool that gives everybody the same answer."""

    def execute(self, *_: object) -> dict[str, int]:
        """See PoolV2."""
        return {"n": 0}


def test_a_storm_says_how_late_the_machine_was(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        sys, "argv", ["storm", "--workers", "2", "--clients", "3", "--seconds", "1", "--kill-pause", "0.2"]
    )
    assert storm.main() == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert told["wrong"] == told["hung"] == 0
    assert told["late_ms"].keys() == told["killed_late_ms"].keys() == told["within_25_ms_of_killed"].keys()
    assert told["slept_late_ms"]["1.0"] >= told["slept_late_ms"]["0.5"] >= 0.0
    assert told["after"]["zombies"] == 0

"""The worker in C answers as ours does, and its experiment compares V2 with the bare hand-off on it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from benchmarks import raw, systems
from benchmarks.blocks import BenchError
from benchmarks.effort import Effort
from benchmarks.experiments.foreign import compile_worker, foreign_worker

COMPILER = shutil.which("cc")


@pytest.mark.skipif(COMPILER is None, reason="there is no C compiler (cc)")
def test_the_worker_in_c_gives_any_value_back(tmp_path: Path) -> None:
    command = compile_worker(str(COMPILER), tmp_path)
    values: list[Any] = [[1, "x"], 'a "text" with, ] } { [', {"a": [{}, []]}, None, True, -1.5, "", "é\n"]
    values.append(list(range(2000)))
    with raw.pipe_call(command) as call:
        assert [call("echo", {"value": value, "more": 1}) for value in values] == values
        assert call("ping", {}) is None


@pytest.mark.skipif(COMPILER is None, reason="there is no C compiler (cc)")
def test_v2_runs_on_the_worker_in_c(tmp_path: Path) -> None:
    with systems.v2(2, worker_command=compile_worker(str(COMPILER), tmp_path)) as execute:
        assert [execute("echo", {"value": [number, "x"]}) for number in range(5)] == [[n, "x"] for n in range(5)]


def test_a_row_for_each_system_and_a_goal_for_each_number_of_clients(tiny: Effort, instant: Any) -> None:
    result = foreign_worker(tiny, {"V2": instant([]), "bare hand-off": instant([])})
    assert [(row.condition, row.system) for row in result.rows] == [
        (clients, system) for clients in ("8 clients", "32 clients") for system in ("V2", "bare hand-off")
    ]
    assert [goal.figure for goal in result.goals] == [result.rows[1].v2_ratio, result.rows[3].v2_ratio]
    assert {goal.limit for goal in result.goals} == {1.0}


def test_without_a_compiler_the_reason_is_told(tiny: Effort, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    result = foreign_worker(tiny)
    assert (result.rows, result.goals) == ((), ())
    assert result.notes == ("skipped: there is no C compiler (cc)",)


def test_a_compiler_that_fails_is_told(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="false could not compile"):
        compile_worker("false", tmp_path)

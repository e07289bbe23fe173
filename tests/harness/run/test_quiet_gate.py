"""The quiet gate: runs share it, a timing has it alone and is not starved, and no order of waiting is a deadlock."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from poolproof.harness.run.lock import COVERED_VARIABLE, covering, measuring, quiet_gate, sharing

LIMIT_S = 30.0
CHILD = """
from poolproof.harness.run.lock import quiet_gate, sharing
with sharing():
    print("shares", flush=True)
with quiet_gate(None) as held:
    print(held, flush=True)
"""


class Entrant:
    """A thread that enters something, and stays until it is told to leave."""

    def __init__(self, what: AbstractContextManager[object]) -> None:
        self.entered, self.leave = threading.Event(), threading.Event()
        self._what = what
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.thread.start()

    def _work(self) -> None:
        with self._what:
            self.entered.set()
            self.leave.wait(LIMIT_S)

    def end(self) -> None:
        self.leave.set()
        self.thread.join(LIMIT_S)
        assert not self.thread.is_alive()


@pytest.fixture
def entrants(runtime_dir: Path) -> Iterator[list[Entrant]]:
    """Those that a test has let in; they leave at its end."""
    found: list[Entrant] = []
    yield found
    for each in found:
        each.leave.set()
    for each in found:
        each.thread.join(LIMIT_S)


def test_runs_share_it(entrants: list[Entrant]) -> None:
    entrants += [Entrant(sharing()), Entrant(sharing())]
    assert all(each.entered.wait(LIMIT_S) for each in entrants)


def test_a_timing_waits_for_the_runs_and_new_runs_wait_for_it(entrants: list[Entrant]) -> None:
    entrants.append(run := Entrant(sharing()))
    assert run.entered.wait(LIMIT_S)
    entrants.append(timing := Entrant(measuring()))
    assert not timing.entered.wait(0.3)
    entrants.append(late := Entrant(sharing()))
    assert not late.entered.wait(0.3)  # or runs that follow one another would keep the timing out for ever
    run.end()
    assert timing.entered.wait(LIMIT_S)
    assert not late.entered.is_set()
    timing.end()
    assert late.entered.wait(LIMIT_S)


def test_patience_ends_and_says_that_nothing_is_held(entrants: list[Entrant]) -> None:
    entrants.append(run := Entrant(sharing()))
    assert run.entered.wait(LIMIT_S)
    with quiet_gate(0.1) as held:
        assert held is False
    run.end()
    with quiet_gate(0.1) as held:
        assert held is True


def test_a_run_that_is_told_to_stop_waits_no_longer(entrants: list[Entrant]) -> None:
    entrants.append(timing := Entrant(measuring()))
    assert timing.entered.wait(LIMIT_S)
    with sharing(stop=lambda: True):
        pass


def test_a_test_that_covers_its_process_may_run_and_time_in_it(runtime_dir: Path) -> None:
    with covering():
        with sharing():
            pass
        with measuring() as held:
            assert held is True
        assert COVERED_VARIABLE in os.environ
    assert COVERED_VARIABLE not in os.environ


def test_a_child_of_a_covering_test_goes_on_and_a_timing_in_it_is_not_held(runtime_dir: Path) -> None:
    with covering():
        done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "shares\nFalse\n"
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "shares\nTrue\n"

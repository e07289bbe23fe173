"""What recording and checking cost: a history that a good run could have, the same from disk and from its objects."""

from __future__ import annotations

import itertools
from pathlib import Path

import msgspec
import pytest

from benchmarks.studies import recording
from benchmarks.studies.long_history import long_history, write_long_history
from poolproof.bridge import Event, EventKind
from poolproof.harness.history.history import History
from poolproof.harness.model.checker import run_checker
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.run.store import RunFolder

OPERATIONS = 16_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A long history on disk."""
    return write_long_history(tmp_path_factory.mktemp("runs"), OPERATIONS)


@pytest.fixture(scope="module")
def stored(folder: RunFolder) -> History:
    """The same, read back."""
    return folder.read_history()


@pytest.fixture(scope="module")
def literal() -> History:
    """The same of objects."""
    return long_history(OPERATIONS)


def test_the_history_has_all_that_makes_checking_hard(literal: History) -> None:
    outcomes = literal.ops.outcome.counts()
    assert len(literal.ops) == OPERATIONS
    assert set(outcomes) == {"result", "CallTimeout", "CheckoutTimeout", "WorkerCrashed"}
    assert outcomes["result"] < OPERATIONS
    assert len(literal.events_by_kind[EventKind.SPAWN]) > literal.info.workers
    assert len(literal.events_by_kind[EventKind.OFFER]) > 1000
    assert any(fault.landed for fault in literal.faults)
    in_session = [op for op in literal.ops if op.session == "s0.3"]
    assert len({op.client for op in in_session}) == 2
    assert any(one.completed_ns > two.invoked_ns for one, two in itertools.pairwise(in_session))


def test_what_is_read_from_disk_is_what_was_recorded(stored: History, literal: History) -> None:
    assert stored.ops == literal.ops
    assert stored.events == literal.events
    assert sorted(stored.services, key=repr) == sorted(literal.services, key=repr)
    assert (stored.faults, stored.samples, stored.statistics) == (literal.faults, literal.samples, literal.statistics)
    assert stored.torn_lines == 0


def test_every_checker_finds_the_same_in_columns_from_disk_and_in_literal_objects(
    stored: History, literal: History
) -> None:
    for checker in recording.KINDS:
        found = run_checker(checker, stored)
        assert found == run_checker(checker, literal), checker.name
        assert found.verdict is not Verdict.FAIL, found
        assert "the checker itself failed" not in found.claim


def test_faults_planted_in_a_long_history_are_found(stored: History) -> None:
    struck = next(op for op in stored.ops if op.command == "echo" and op.index > OPERATIONS / 2)
    ops = [op if op != struck else msgspec.structs.replace(op, value=7, sent="no") for op in stored.ops]
    events = [*stored.events, Event(EventKind.ACCEPT, struck.sent_ns or 0, 0, struck.worker, struck.pid)]
    bad = msgspec.structs.replace(stored, ops=ops, events=events)
    failed = {checker.name for checker in recording.KINDS if run_checker(checker, bad).verdict is Verdict.FAIL}
    assert {"own_answer", "audit", "exclusive_lease"} <= failed


def test_every_figure_is_taken(tmp_path: Path) -> None:
    told = []
    folder = write_long_history(tmp_path, 1600)
    checking = recording.measure_checking(folder, on_found=lambda found, took_s: told.append(found.checker))
    assert told == list(checking.seconds)
    assert checking.operations == 1600
    assert checking.peak_bytes > 1 << 20
    assert checking.check_s > 0


def test_recording_writes_what_it_was_given(tmp_path: Path) -> None:
    cost = recording.measure_recording(500, tmp_path / "history.jsonl")
    assert min(msgspec.structs.astuple(cost)) > 0
    kinds = [msgspec.json.decode(line)["type"] for line in (tmp_path / "history.jsonl").read_bytes().splitlines()]
    assert (kinds.count("op"), kinds.count("end"), kinds.count("event")) == (600, 600, 600)


def test_the_program_prints_all_figures(capsys: pytest.CaptureFixture[str]) -> None:
    assert recording.main(["--ops", "1600"]) in (0, 1)  # on a loaded machine a goal may be missed
    out = capsys.readouterr().out
    for word in ("loading 1600 operations", "checking:", "memory:", "recording:"):
        assert word in out


@pytest.mark.parametrize("number", ["999", "10000001"])
def test_a_number_out_of_range_is_refused(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        recording.main(["--ops", number])
    assert f"--ops {number}: 1000 to 10000000" in capsys.readouterr().err

"""Run folders: what was kept is read back, what is damaged is said to be, and what is no run is refused."""

from __future__ import annotations

import errno
import gzip
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from poolproof.bridge.worker.journal import Entry, Journal
from poolproof.harness.compare.comparison import Busy, Comparison, Machine, Metrics, Quantiles, RunResult
from poolproof.harness.history.codec import FaultLine, MarkLine, OpLine
from poolproof.harness.model.checker import Finding
from poolproof.harness.model.errors import RecordError, UsageError
from poolproof.harness.model.fault import FaultKind
from poolproof.harness.model.verdict import Decision, Verdict
from poolproof.harness.run.retention import COMPARISON_FILE
from poolproof.harness.run.store import RunFolder, read_comparison, write_whole


@pytest.fixture
def folder(tmp_path: Path, build: Any) -> RunFolder:
    """A new run folder without a history."""
    return RunFolder.create(tmp_path, build.info())


def test_a_folder_is_named_by_scenario_pool_and_seed(folder: RunFolder, build: Any) -> None:
    assert folder.path.name == "literal-v2-1"
    assert folder.read_info() == build.info()


def test_the_same_run_again_gets_a_folder_of_its_own(folder: RunFolder, build: Any) -> None:
    again = [RunFolder.create(folder.path.parent, build.info()).path.name for _ in range(2)]
    assert again == ["literal-v2-1-2", "literal-v2-1-3"]


def test_missing_parents_are_made(tmp_path: Path, build: Any) -> None:
    assert RunFolder.create(tmp_path / "a" / "b", build.info()).journal.is_dir()


def test_a_file_in_the_place_of_the_folder_is_a_usage_error(tmp_path: Path, build: Any) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for parent in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / "dangling"):
        with pytest.raises(UsageError, match=r"cannot write|is not a folder"):
            RunFolder.create(parent, build.info())


def test_a_history_is_read_with_its_journals_and_starts(folder: RunFolder, build: Any) -> None:
    op, struck, start = build.op(0), build.fault(FaultKind.KILL), build.fault(FaultKind.SLOW_START)
    lines = [OpLine(op), FaultLine(struck), MarkLine("finished", 1)]
    folder.history.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
    entry = Entry(1, "echo", op.nonce, 10, 20, True)
    (folder.journal / "101-1.jsonl").write_bytes(msgspec.json.encode(entry) + b"\n")
    folder.starts.write_bytes(msgspec.json.encode(start) + b"\n")
    history = folder.read_history()
    assert history.ops == (msgspec.structs.replace(op, worker=1, pid=101),)
    assert history.faults == (struck, start)
    assert [(s.pid, s.worker_id, s.nonce, s.end_ns) for s in history.services] == [(101, 1, op.nonce, 20)]
    assert history.finished


def test_a_torn_last_line_costs_itself_alone(folder: RunFolder, build: Any) -> None:
    data = b"".join(msgspec.json.encode(OpLine(build.op(n))) + b"\n" for n in range(3))
    folder.history.write_bytes(data[:-25])
    folder.starts.write_bytes(msgspec.json.encode(build.fault(FaultKind.SLOW_START)) + b'\n{"kind": "slow')
    history = folder.read_history()
    assert [op.index for op in history.ops] == [0, 1]
    assert history.torn_lines == 1
    assert len(history.faults) == 1
    assert not history.finished


@pytest.mark.parametrize("cut", range(0, 400, 37))
def test_a_history_cut_anywhere_is_readable(folder: RunFolder, build: Any, cut: int) -> None:
    data = b"".join(msgspec.json.encode(OpLine(build.op(n, value="ü" * 40))) + b"\n" for n in range(2))
    folder.history.write_bytes(data[:cut])
    assert len(folder.read_history().ops) <= 2


def test_bytes_that_are_no_text_in_the_starts_are_left_out(folder: RunFolder) -> None:
    folder.history.touch()
    folder.starts.write_bytes(b'{"kind": "\xff"}\n\xff\xfe\n')
    assert folder.read_history().faults == ()


def test_a_folder_that_is_no_run_is_a_record_error(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(RecordError, match=r"cannot read .*run\.json"):
            RunFolder(path).read_history()


def test_a_run_without_a_history_is_a_record_error(folder: RunFolder) -> None:
    with pytest.raises(RecordError, match=r"cannot read .*history\.jsonl"):
        folder.read_history()


@pytest.mark.parametrize("damage", [b"", b"{", b'{"scenario": 1}', b"\xff\xfe", b'{"scenario": "\xff"}'])
def test_a_damaged_file_is_a_record_error_that_names_it(folder: RunFolder, damage: bytes) -> None:
    (folder.path / "run.json").write_bytes(damage)
    with pytest.raises(RecordError, match=r"run\.json is damaged"):
        folder.read_info()


def test_a_result_is_read_back_as_it_was_kept(folder: RunFolder, build: Any) -> None:
    quantiles = Quantiles(count=3, p50_ms=1.5, p90_ms=2.0, p99_ms=2.5, max_ms=3.0)
    result = RunResult(
        scenario="literal",
        pool="v2",
        seed=1,
        verdict=Verdict.FAIL,
        findings=(
            Finding(
                checker="fifo",
                verdict=Verdict.FAIL,
                claim="2 overtook",
                guarantees=("G7",),
                figures={"a": 1, "b": 0.5, "c": "x"},
                examples=("call 1 overtook",),
            ),
        ),
        metrics=Metrics(
            ops=3,
            outcomes={"result": 3},
            response=quantiles,
            timeline=(Busy(worker=1, start_ms=0, end_ms=1, command="echo"),),
        ),
        folder=str(folder.path),
        duration_s=1.25,
        trouble="none at all",
    )
    folder.write_result(result)
    assert folder.read_result() == result


@pytest.fixture
def judged(folder: RunFolder, build: Any) -> RunFolder:
    """A run with 300 operations and a result."""
    folder.history.write_bytes(b"".join(msgspec.json.encode(OpLine(build.op(n))) + b"\n" for n in range(300)))
    folder.write_result(RunResult(scenario="literal", pool="v2", seed=1, verdict=Verdict.PASS))
    return folder


def test_a_judged_run_s_history_is_packed_and_read_as_before(judged: RunFolder) -> None:
    assert [op.index for op in judged.read_history().ops] == list(range(300))
    assert not judged.history.exists()
    size_bytes = judged.packed.stat().st_size
    judged.write_result(judged.read_result())  # it was analysed again
    assert judged.packed.stat().st_size == size_bytes < 300 * 20
    assert not list(judged.path.glob(".*")), "no draft is left"


def test_what_workers_printed_is_packed_if_it_is_more_than_a_block(folder: RunFolder, build: Any) -> None:
    folder.history.write_bytes(msgspec.json.encode(OpLine(build.op(0))) + b"\n")
    for name, size in (("worker-1.stderr.log", 4096), ("worker-2.stderr.log", 4097)):
        (folder.stderr / name).write_bytes(b"x" * size)
    folder.write_result(RunResult(scenario="literal", pool="v2", seed=1, verdict=Verdict.PASS))
    assert {file.name for file in folder.stderr.iterdir()} == {"worker-1.stderr.log", "worker-2.stderr.log.gz"}
    assert gzip.decompress((folder.stderr / "worker-2.stderr.log.gz").read_bytes()) == b"x" * 4097


def test_the_journals_of_a_judged_run_are_packed_and_read_as_before(folder: RunFolder, build: Any) -> None:
    folder.history.write_bytes(msgspec.json.encode(OpLine(build.op(0))) + b"\n")
    journal = Journal(3, str(folder.journal), who=77)
    for number in range(100):
        journal.end(journal.begin(number, "echo", f"n{number}"), ok=True)
    journal.close()
    before = folder.read_history().services
    assert len(before) == 100
    folder.write_result(RunResult(scenario="literal", pool="v2", seed=1, verdict=Verdict.PASS))
    assert [file.name for file in folder.journal.iterdir()] == ["77-3.jsonl.gz"]
    assert folder.read_history().services == before


def test_a_history_that_cannot_be_packed_stays_as_it_is(
    folder: RunFolder, build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.history.write_bytes(msgspec.json.encode(OpLine(build.op(0))) + b"\n")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    folder.write_result(RunResult(scenario="literal", pool="v2", seed=1, verdict=Verdict.PASS))
    assert [path.name for path in folder.path.glob("*history*")] == ["history.jsonl"]
    assert len(folder.read_history().ops) == 1


@pytest.mark.parametrize("damage", [b"", b"no gzip", None])
def test_a_damaged_packed_history_is_a_record_error_that_names_it(judged: RunFolder, damage: bytes | None) -> None:
    judged.packed.write_bytes(judged.packed.read_bytes()[:-40] if damage is None else damage)
    if damage == b"":
        assert judged.read_history().ops == ()
        return
    with pytest.raises(RecordError, match=r"cannot read .*history\.jsonl\.gz: "):
        judged.read_history()


def test_a_folder_without_a_result_is_a_record_error(folder: RunFolder) -> None:
    with pytest.raises(RecordError, match=r"result\.json"):
        folder.read_result()


def test_a_file_is_replaced_whole_and_leaves_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, b"first")
    write_whole(path, b"second")
    assert path.read_bytes() == b"second"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_breaks_leaves_the_former_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_whole(path, b"first")

    def full(self: Path, data: bytes) -> int:
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, b"second")
    assert path.read_bytes() == b"first"


@pytest.fixture
def comparison() -> Comparison:
    """The smallest comparison that there can be."""
    machine = Machine(system="Linux", python="3.11", cpus=2, load_before=0.1, load_after=0.2)
    return Comparison(
        decision=Decision.INCONCLUSIVE,
        reasons=("nothing was run",),
        baseline="v1",
        candidate="v2",
        seed=1,
        workers=4,
        clients=8,
        profile="quick",
        scenarios=(),
        machine=machine,
        created_at="2026-01-01T00:00:00+00:00",
        duration_s=0.5,
        tool_version="0.1.0",
    )


def test_a_comparison_is_read_from_its_folder_or_its_file(tmp_path: Path, comparison: Comparison) -> None:
    file = tmp_path / COMPARISON_FILE
    write_whole(file, msgspec.json.encode(comparison))
    assert read_comparison(tmp_path) == read_comparison(file) == comparison


@pytest.mark.parametrize(("version", "readable"), [("1.0", True), ("1.9", True), ("2.0", False), ("", False)])
def test_a_comparison_of_another_major_version_is_a_record_error(
    tmp_path: Path, comparison: Comparison, version: str, readable: bool
) -> None:
    file = tmp_path / COMPARISON_FILE
    write_whole(file, msgspec.json.encode(msgspec.structs.replace(comparison, schema_version=version)))
    if readable:
        assert read_comparison(file).schema_version == version
    else:
        with pytest.raises(RecordError, match="schema version"):
            read_comparison(file)


def test_a_folder_without_a_comparison_is_a_record_error(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="cannot read"):
        read_comparison(tmp_path)

"""Results in out/: found by their names, removed but for the newest, ignored by git."""

from __future__ import annotations

from pathlib import Path

import pytest

from poolproof.harness.cli.app import main
from poolproof.harness.run.retention import find_results, make_folder

NAMES = (
    "compare-20260102-030405-678",
    "run-20260101-030405-001",
    "pytest-20260103-030405-4711-0af3",
    "bench-20251231-235959-999",
)


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """out/ with four results, and with what a user has put there."""
    monkeypatch.chdir(tmp_path)
    for name in (*NAMES, "mine", "compare", "compare-20260101"):
        (tmp_path / "out" / name / "runs").mkdir(parents=True)
        (tmp_path / "out" / name / "runs" / "data").write_bytes(b"x" * 1000)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "run-20200101-000000-000").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "out" / "run-20200101-000000-001").touch()
    return tmp_path / "out"


def test_results_are_known_by_their_names_the_newest_first(results: Path) -> None:
    found = find_results(results)
    assert [kept.path.name for kept in found] == [NAMES[2], NAMES[0], NAMES[1], NAMES[3]]
    assert {kept.size_bytes for kept in found} == {1000}


def test_old_results_are_removed_and_nothing_else(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    everything = {path.name for path in results.iterdir()}
    assert main(["clean", "--keep", "2", "--dry-run"]) == 0
    assert {path.name for path in results.iterdir()} == everything
    assert capsys.readouterr().out.splitlines()[-1] == f"out/{NAMES[3]}\t0.0 MB\twould be removed"
    assert main(["clean", "--keep", "2"]) == 0
    assert everything - {path.name for path in results.iterdir()} == {NAMES[1], NAMES[3]}
    assert main(["clean", "--keep", "0"]) == 0
    assert everything - {path.name for path in results.iterdir()} == set(NAMES)
    capsys.readouterr()
    assert main(["clean"]) == 0
    assert capsys.readouterr().out == "there are no results in out\n"


@pytest.mark.parametrize(
    ("arguments", "told"), [(["nowhere"], "there is no folder nowhere"), (["--keep", "-1"], "--keep -1: must be")]
)
def test_bad_usage_is_one_line(
    arguments: list[str], told: str, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["clean", *arguments]) == 2
    assert told in capsys.readouterr().err


def test_a_new_out_is_ignored_by_git_and_an_old_one_is_the_user_s(tmp_path: Path) -> None:
    make_folder(tmp_path / "out" / NAMES[0])
    assert (tmp_path / "out" / ".gitignore").read_text() == "*\n"
    (tmp_path / "other" / "out").mkdir(parents=True)
    make_folder(tmp_path / "other" / "out" / NAMES[0])
    make_folder(tmp_path / "results" / NAMES[0])
    assert [path.name for path in (tmp_path / "other" / "out").iterdir()] == [NAMES[0]]
    assert [path.name for path in (tmp_path / "results").iterdir()] == [NAMES[0]]

"""The commands of a migration, as a person types them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from poolproof.harness.cli.app import main
from poolproof.migration import Position, StateFile

Capture = pytest.CaptureFixture[str]
FILE = """
from poolproof.harness.checkers import CORE, OneOutcome
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.workload import Size, steady

TINY = Scenario(name="tiny", summary="two echoes a client", workload=steady("echo", calls=2),
                checkers=(OneOutcome(), *CORE), fixed_size=Size(workers=1, clients=2))
"""


@pytest.fixture
def migrate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> Callable[..., tuple[int, str, str]]:
    """Run `poolproof migrate …` in a new folder: the exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str, str]:
        code = main(["migrate", *words])
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


def test_a_migration_from_its_begin_to_its_end_and_back(migrate: Callable[..., tuple[int, str, str]]) -> None:
    code, _, told = migrate("status")
    assert code == 2
    assert "no migration has begun; `poolproof migrate start` begins one" in told
    assert migrate("start", "--why", "a quiet day", "--who", "anna")[:2] == (0, "shadow, number 1\n")
    assert migrate("start")[0] == 2
    assert migrate("promote")[1] == "canary:1, number 2\n"
    assert migrate("canary", "60")[1] == "canary:60, number 3\n"
    assert migrate("promote")[1] == "v2, number 4\n"
    assert migrate("promote")[2] == "poolproof: v2 serves everything already; there is no next step\n"
    assert "there is no next step" in migrate("status")[1]
    assert migrate("rollback", "--why", "it was slow")[1] == "v1, number 5\n"
    assert migrate("shadow")[1] == "shadow, number 6\n"
    assert json.loads(migrate("status", "--json")[1])["sequence"] == 6
    rows = [row.split("\t") for row in migrate("log")[1].splitlines()]
    assert [row[2:4] for row in rows] == [
        ["none", "shadow"],
        ["shadow", "canary:1"],
        ["canary:1", "canary:60"],
        ["canary:60", "v2"],
        ["v2", "v1"],
        ["v1", "shadow"],
    ]
    assert rows[0][4:] == ["anna", "a quiet day"]
    assert len(json.loads(migrate("log", "--json")[1])) == 6


def test_the_configured_file_and_ramp_are_used(migrate: Callable[..., tuple[int, str, str]]) -> None:
    Path("poolproof.toml").write_text('[migration]\nstate_file = "mine.json"\nramp = [10, 100]')
    migrate("start")
    assert migrate("promote")[1] == "canary:10, number 2\n"
    entry = StateFile("mine.json").read()
    assert entry is not None
    assert entry.position == Position.canary(10)
    Path("poolproof.toml").write_text("[migration]\nrmap = [100]")
    code, _, told = migrate("status")
    assert (code, told) == (2, "poolproof: poolproof.toml: unknown option 'rmap'; did you mean 'ramp'?\n")


def test_a_damaged_file_is_told_and_only_a_rollback_or_a_named_step_mends_it(
    migrate: Callable[..., tuple[int, str, str]],
) -> None:
    migrate("start")
    Path("poolproof-migration.json").write_text('{"mo')
    code, _, told = migrate("status")
    assert code == 1
    assert "is damaged" in told
    assert "applications use v1 meanwhile" in told
    assert migrate("promote")[0] == 2
    assert migrate("rollback")[:2] == (0, "v1, number 2\n")
    assert migrate("status")[0] == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("canary", "0"), "canary 0: must be a whole number of percent from 1 to 100"),
        (("canary", "many"), "percent"),
        (("start", "--why", " "), "needs a reason"),
        (("validate", "--soak-s", "0.5"), "--soak-s 0.5: 0, or a number from 1 to 86400"),
        (("forward",), "'forward'"),
    ],
)
def test_what_cannot_be_is_one_line(
    migrate: Callable[..., tuple[int, str, str]], words: tuple[str, ...], told: str
) -> None:
    code, _, errors = migrate(*words)
    assert code == 2
    assert told in errors


def test_validate_writes_one_page_on_which_not_run_is_not_passed(
    migrate: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The reports have tests of their own, and each costs seconds.
    monkeypatch.setattr(
        "poolproof.harness.cli.commands.migrate.write_reports", lambda found, folder: {"html": folder / "r.html"}
    )
    Path("tiny.py").write_text(FILE)
    code, out, _ = migrate("validate", "tiny.py", "--soak-s", "0", "--out", "v", "--quiet", "--jobs", "2")
    assert code == 3
    assert "pass     scenarios pass on the candidate: 1 scenarios" in out
    assert "not run  error rate: no soak was run" in out
    assert "not run  documents are current: migration-guide.md is not in the folder docs or below it" in out
    assert "UNKNOWN: v2 replacing v1" in out
    page = Path("v/checklist.md").read_text()
    assert "| pass | scenarios pass on the candidate | 1 scenarios |" in page
    assert page.count("| not run |") == 8


def test_no_reason_forges_a_row_of_the_log(migrate: Callable[..., tuple[int, str, str]]) -> None:
    forged = "ok\n2\t2026-01-01\tshadow\tv2\troot\tapproved\x1b[2J\u202e"
    assert migrate("start", "--why", forged, "--who", forged)[0] == 0
    (row,) = migrate("log")[1].splitlines()
    assert row.replace("\t", "").isprintable()
    assert len(row.split("\t")) == 6
    (told,) = [line for line in migrate("status")[1].splitlines() if line.startswith("shadow")]
    assert told.isprintable()
    (change,) = json.loads(migrate("log", "--json")[1])
    assert (change["why"], change["who"]) == (forged, forged)
    assert "\u202e" not in migrate("log", "--json")[1]

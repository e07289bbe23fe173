"""The commands of a migration, as a person types them, with a pool of this process that follows."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from poolproof.harness.cli.app import main, make_app
from poolproof.harness.cli.commands.migration.validate import MIGRATE_COMMANDS
from poolproof.migration import MigratingPool, Position, StateFile, load_plan
from poolproof.migration.followers.place import user_folder
from poolproof.migration.followers.record import Follower
from poolproof.migration.followers.registry import find_followers

Capture = pytest.CaptureFixture[str]
Migrate = Callable[..., tuple[int, str, str]]
Follow = Callable[..., tuple[MigratingPool, StateFile]]
FILE = """
from poolproof.harness.checkers import CORE, OneOutcome
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.workload import Size, steady

TINY = Scenario(name="tiny", summary="two echoes a client", workload=steady("echo", calls=2),
                checkers=(OneOutcome(), *CORE), fixed_size=Size(workers=1, clients=2))
"""


@pytest.fixture
def migrate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> Migrate:
    """Run `poolproof migrate …` in a new folder of a user without migrations: the exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))

    def run(*words: str) -> tuple[int, str, str]:
        code = main(["migrate", *words])
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


@pytest.fixture
def follow(migrate: Migrate, scripted: Any) -> Iterator[Follow]:
    """Make a pool that follows the migration of `load_plan`, and its state file."""
    made: list[MigratingPool] = []

    def make(**options: Any) -> tuple[MigratingPool, StateFile]:
        pool = MigratingPool(scripted("web"), scripted("v2"), load_plan(**options))
        made.append(pool)
        return pool, StateFile(pool.report().state_file)

    yield make
    for pool in made:
        pool.close(0.0)


def _files(folder: Path) -> dict[str, bytes]:
    # What is there, but for the register, in which living processes write all the time.
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.parent.name.endswith(".followers") and path.suffix != ".lock"
    }


def test_a_migration_from_its_begin_to_its_end_and_back(
    migrate: Migrate, follow: Follow, until: Callable[..., Any]
) -> None:
    pool, file = follow()
    assert file.path == user_folder() / "default.json"
    assert not file.path.exists(), "only `start` creates it"
    code, out, _ = migrate("status")
    assert (code, out.splitlines()[0][:26]) == (0, "no migration has begun: th")
    assert f"process {os.getpid()} on" in out
    code, out, _ = migrate("start", "--why", "a quiet day", "--who", "anna")
    assert (code, out.splitlines()[0]) == (0, f"shadow, number 1, in {file.path}")
    assert "(pool 'web') applies shadow, number 1" in out
    assert out.endswith("1 of 1 processes follow\n")
    assert pool.position == Position.parse("shadow")
    assert migrate("promote")[1].startswith("canary:1, number 2, ")
    assert migrate("canary", "60")[1].startswith("canary:60, number 3, ")
    for _ in range(100):
        pool.execute("echo", {"value": 1})
    counts = "since then v1 40 calls (0 failed), v2 60 calls (0 failed)"
    until(lambda: counts in migrate("status")[1], "the process publishes what it has served")
    assert migrate("promote")[1].startswith("v2, number 4, ")
    assert migrate("promote")[2] == "poolproof: v2 serves everything already; there is no next step\n"
    assert "there is no next step" in migrate("status")[1]
    assert migrate("finish")[1].startswith("v2 finished, number 5, ")
    assert "the migration is finished" in migrate("canary", "5")[2]
    assert migrate("rollback", "--why", "it was slow")[1].startswith("v1, number 6, ")
    assert pool.position == Position()
    assert migrate("shadow")[1].startswith("shadow, number 7, ")
    status = json.loads(migrate("status", "--json")[1])
    assert (status["sequence"], status["position"], status["followed"]) == (7, "shadow", True)
    rows = [row.split("\t") for row in migrate("log")[1].splitlines()]
    assert [row[3] for row in rows] == ["shadow", "canary:1", "canary:60", "v2", "v2 finished", "v1", "shadow"]
    assert rows[0][4:] == ["anna", "a quiet day"]
    assert len(json.loads(migrate("log", "--json")[1])) == 7


def test_a_pause_stops_each_larger_step_until_it_is_resumed(migrate: Migrate, follow: Follow) -> None:
    pool, _ = follow()
    for words in (("start",), ("canary", "25"), ("pause", "--why", "look at it first")):
        assert migrate(*words)[0] == 0
    assert "; paused: look at it first" in migrate("status")[1]
    for words in (("promote",), ("canary", "50")):
        code, _, told = migrate(*words)
        assert (code, "is paused: look at it first" in told) == (2, True)
    assert migrate("canary", "5")[0] == 0, "a smaller step is allowed, and ends the pause"
    assert migrate("resume")[0] == 2
    assert migrate("pause")[0] == 0
    assert migrate("resume")[0] == 0
    assert migrate("promote")[1].startswith("canary:25, ")
    assert pool.report().paused == ""


def test_the_ramp_is_the_one_of_the_processes_that_follow(migrate: Migrate, follow: Follow) -> None:
    Path("poolproof.toml").write_text('[migration]\nstate_file = "mine.json"\nramp = [10, 100]')
    _, file = follow(ramp=[7, 100])
    migrate("start")
    assert migrate("promote")[1].startswith("canary:7, number 2, ")
    entry = StateFile("mine.json").read()
    assert entry is not None
    assert (entry.position, file.path) == (Position.canary(7), Path("mine.json").absolute())
    Path("poolproof.toml").write_text("[migration]\nrmap = [100]")
    code, _, told = migrate("status")
    assert (code, told) == (2, "poolproof: poolproof.toml: unknown option 'rmap'; did you mean 'ramp'?\n")


def _follower(file: StateFile) -> Follower:
    [follower] = find_followers(file.followers_path)
    return follower


def test_a_lost_file_is_told_keeps_every_process_where_it_is_and_a_rollback_mends_it(
    migrate: Migrate, follow: Follow, until: Callable[..., Any]
) -> None:
    pool, file = follow()
    migrate("start")
    migrate("canary", "25")
    for spoil in (lambda: file.path.write_text('{"mo'), file.path.unlink):
        spoil()
        until(lambda: _follower(file).record.trouble, "the process notices, and publishes it")
        code, out, told = migrate("status")
        assert code == (1 if file.path.exists() else 3)
        assert "NOT FOLLOWING: process" in out
        assert "keeps canary:25" in told
        before = _files(Path.cwd())
        for words in (("promote",), ("start",)):
            assert migrate(*words)[0] == 2
        assert _files(Path.cwd()) == before
        assert str(pool.position) == "canary:25"
        assert migrate("rollback")[0] == 0
        assert str(pool.position) == "v1"
        assert migrate("canary", "25")[0] == 0


def _begin(migrate: Migrate, follow: Follow) -> MigratingPool:
    pool, _ = follow()
    assert migrate("start")[0] == 0
    return pool


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("canary", "0"), "canary 0: must be a whole number of percent from 1 to 100"),
        (("canary", "101"), "canary 101: must be a whole number of percent from 1 to 100"),
        (("canary", "many"), "percent"),
        (("start",), "stands at shadow already"),
        (("start", "--why", " "), "stands at shadow already"),
        (("canary", "5", "--why", " "), "needs a reason"),
        (("canary", "5", "--name", "wbe"), "no migration has begun"),
        (("rollback", "--name", "wbe"), "processes follow these migrations: default (--name)"),
        (("start", "--name", "wbe"), "processes follow these migrations: default (--name)"),
        (("rollback", "--state", "other.json"), "no migration has begun"),
        (("rollback", "--state", "none/other.json"), "there is no folder"),
        (("start", "--name", "../x"), "name '../x': must be 1 to 64 letters"),
        (("canary", "5", "--name", "a", "--state", "b"), "give one of the two"),
        (("canary", "5", "--wait", "-1"), "--wait -1.0: must be a number of seconds from 0 to 3600"),
        (("finish",), "the migration stands at shadow; only v2 can be finished"),
        (("resume",), "the migration is not paused"),
        (("validate", "--soak-s", "0.5"), "--soak-s 0.5: 0, or a number from 1 to 86400"),
        (("forward",), "'forward'"),
    ],
)
def test_a_wrong_use_says_so_and_changes_nothing(
    migrate: Migrate, follow: Follow, words: tuple[str, ...], told: str
) -> None:
    pool = _begin(migrate, follow)
    before = _files(Path.cwd())
    code, out, errors = migrate(*words)
    assert (code, out) == (2, "")
    assert told in errors
    assert _files(Path.cwd()) == before
    assert str(pool.position) == "shadow"


def test_without_a_service_nothing_is_changed_unless_it_is_demanded(migrate: Migrate) -> None:
    for words in (("start",), ("canary", "5"), ("rollback",), ("status",), ("log",)):
        code, out, told = migrate(*words)
        assert (code, out) == (2, ""), words
        assert "no process follows" in told or "no migration has begun" in told
    assert list(Path.cwd().iterdir()) == []
    user_folder().mkdir(parents=True)
    code, out, told = migrate("start", "--unfollowed")
    assert code == 3
    assert "no process follows" in told
    assert "so no call is served by this state" in told
    assert migrate("status")[0] == 3


def test_under_sudo_a_command_says_whose_migrations_these_are(
    migrate: Migrate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_USER", "anna")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert "`sudo -u anna poolproof migrate status` looks at the migrations of anna" in migrate("status")[2]


def test_a_state_that_this_user_cannot_write_is_an_error(
    migrate: Migrate, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = _begin(migrate, follow)
    before = _files(Path.cwd())
    monkeypatch.setattr("os.replace", lambda *paths: (_ for _ in ()).throw(OSError(30, "Read-only file system")))
    code, out, told = migrate("canary", "5")
    assert (code, out) == (2, "")
    assert "Read-only file system" in told
    assert _files(Path.cwd()) == before
    assert str(pool.position) == "shadow"


def test_every_command_is_named_for_the_guide() -> None:
    program: Any = typer.main.get_command(make_app())
    assert sorted(MIGRATE_COMMANDS) == sorted(program.commands["migrate"].commands)


def test_validate_writes_one_page_on_which_not_run_is_not_passed(
    migrate: Migrate, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The reports have tests of their own, and each costs seconds.
    monkeypatch.setattr(
        "poolproof.harness.cli.commands.migration.validate.write_reports",
        lambda found, folder: {"html": folder / "r.html"},
    )
    Path("tiny.py").write_text(FILE)
    code, out, _ = migrate("validate", "tiny.py", "--soak-s", "0", "--out", "v", "--quiet", "--jobs", "2")
    assert code == 3
    assert "pass     scenarios pass on the candidate: 1 scenarios" in out
    assert "not run  error rate: no soak was run" in out
    assert "unknown  the plan is ready: state: " in out
    assert "UNKNOWN: v2 replacing v1" in out
    page = Path("v/checklist.md").read_text()
    assert "| pass | scenarios pass on the candidate | 1 scenarios |" in page
    assert page.count("| not run |") == 7


def test_no_reason_forges_a_row_of_the_log(migrate: Migrate, follow: Follow) -> None:
    follow()
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

"""Configuration: code before the environment before TOML, and every mistake names what is valid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from poolproof.bridge import ConfigError
from poolproof.migration import Guardrails, Mode, Plan, Position, load_plan


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder without configuration."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_code_comes_before_the_environment_and_that_before_toml(folder: Path) -> None:
    (folder / "poolproof.toml").write_text('[migration]\nbegin = "shadow"\nstep_calls = 7\nstate_file = "s.json"')
    assert load_plan(environ={}).begin == "shadow"
    environ = {"POOLPROOF_POOL_VERSION": "canary:25", "HOME": "x"}
    assert load_plan(environ=environ).begin == "canary:25"
    found = load_plan(environ=environ, begin="v2")
    assert (found.begin, found.step_calls) == ("v2", 7)
    assert load_plan(environ={"POOLPROOF_MIGRATION_STATE": "t.json"}).state_file == "t.json"


def test_pyproject_is_read_if_there_is_no_file_of_our_own(folder: Path) -> None:
    (folder / "pyproject.toml").write_text(
        '[tool.poolproof.migration]\nidempotent = ["echo"]\n[tool.poolproof.migration.guardrails]\nmin_calls = 3'
    )
    found = load_plan(environ={}, guardrails={"min_errors": 2})
    assert found.idempotent == {"echo"}
    assert (found.guardrails.min_calls, found.guardrails.min_errors) == (3, 2)


def test_a_flag_goes_with_a_name_or_a_state_file(folder: Path) -> None:
    (folder / "poolproof.toml").write_text('[migration]\nflag = "checkout-pool"\non_breach = "report"')
    assert (load_plan(environ={}).flag, load_plan(environ={}).name) == ("checkout-pool", "default")
    assert load_plan(environ={}, flag="other", state_file="s.json").flag == "other"
    with pytest.raises(ConfigError, match="begin 'v2': only the flag sets the position"):
        load_plan(environ={"POOLPROOF_POOL_VERSION": "v2"})


def test_a_state_file_lies_beside_the_file_that_names_it(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "p.toml").write_text('[migration]\nstate_file = "s.json"')
    assert load_plan(environ={}, toml=folder / "sub" / "p.toml").state_file == str(folder / "sub" / "s.json")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bgin": "v1"}, "unknown option 'bgin'; did you mean 'begin'?"),
        ({"guardrails": {"window": 3}}, "unknown option of guardrails 'window'; did you mean 'window_s'?"),
        ({"begin": "canary"}, "pool version 'canary': must be v1, v2, shadow or canary:PERCENT"),
        ({"begin": "canary:101"}, "canary 101: must be a whole number of percent from 1 to 100"),
        ({"ramp": [5, 1, 100]}, "ramp .*: must be rising percentages"),
        ({"ramp": [1, 5]}, "the first at least 1 and the last 100"),
        ({"back": "stay"}, "after a rollback v2 serves no sessions"),
        ({"back": "away"}, "^the migration's options: .*back"),
        ({"shadow_queue": 0}, "shadow_queue 0: must be a whole number from 1"),
        ({"step_s": 0}, "step_s 0.*: must be a number of seconds above 0"),
        ({"step_calls": "many"}, "^the migration's options: .*step_calls"),
        ({"guardrails": {"max_error_rate": 2}}, "max_error_rate 2.*: must be a number from 0 to 1"),
        ({"idempotent": ["put"]}, "a command of state_commands cannot be idempotent"),
        ({"poll_s": 5}, "poll_s 5.*: must be a number from 0.01 to 0.5"),
        ({"flag": "k "}, "flag 'k ': must be the key of a feature flag"),
        ({"flag": "k\n"}, r"flag 'k\\n': must be the key of a feature flag"),
        ({"flag": "k", "begin": "shadow"}, "flag 'k' and begin 'shadow': only the flag sets the position"),
        ({"flag": "k", "automatic": True}, "flag 'k' and automatic True: only the flag sets the position"),
        ({"flag": "k", "on_breach": "pause"}, "flag 'k' and on_breach 'pause': nobody could resume"),
    ],
)
def test_what_cannot_be_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_plan(environ={}, **options)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[migraton]", "poolproof.toml: unknown table 'migraton'; did you mean 'migration'?"),
        ("[migration]\nsteps = 3", "poolproof.toml: unknown option 'steps'; did you mean"),
        ("[migration", "poolproof.toml cannot be read"),
        ("migration = 3", "a table is needed"),
    ],
)
def test_a_mistake_in_toml_is_named_with_its_file(folder: Path, text: str, message: str) -> None:
    (folder / "poolproof.toml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_plan(environ={})


def test_a_mistake_in_the_environment_is_named() -> None:
    with pytest.raises(ConfigError, match="unknown environment variable 'POOLPROOF_POOL_VERSON'; did you mean"):
        load_plan(environ={"POOLPROOF_POOL_VERSON": "v2"})
    with pytest.raises(ConfigError, match="POOLPROOF_POOL_VERSION: pool version 'v3'"):
        load_plan(environ={"POOLPROOF_POOL_VERSION": "v3"})
    with pytest.raises(ConfigError, match="there is no file"):
        load_plan(environ={}, toml="nowhere.toml")


def test_promote_walks_the_ramp() -> None:
    plan, at, told = Plan(ramp=(1, 25, 100)), Position(), []
    while (following := plan.next_step(at)) is not None:
        told.append(str(following))
        at = following
    assert told == ["shadow", "canary:1", "canary:25", "v2"]
    assert plan.next_step(Position.canary(7)) == Position.canary(25)
    assert Position.parse("canary:100") == Position(Mode.V2)
    assert load_plan(environ={}, guardrails=Guardrails(min_calls=4)).guardrails.min_calls == 4

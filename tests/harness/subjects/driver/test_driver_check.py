"""The conformance check: a right driver keeps every rule, and a wrong one is told which rule it breaks."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from poolproof.harness.cli.app import main
from poolproof.harness.subjects.driver import check
from poolproof.harness.subjects.driver.check import RULES, check_driver

Scripted = Callable[..., str]
ROOT = Path(__file__).parents[4]
DRIVERS = ROOT / "examples" / "drivers"
EXAMPLES = {
    "python": f"{sys.executable} {DRIVERS / 'pool_driver.py'}",
    "node serial": f"node {DRIVERS / 'node_driver.js'} serial",
    "node checkout": f"node {DRIVERS / 'node_driver.js'} checkout",
    "elixir v1": f"elixir {DRIVERS / 'elixir' / 'v1.exs'}",
    "elixir v2": f"elixir {DRIVERS / 'elixir' / 'v2.exs'}",
}
QUICK = ("any JSON value", "many calls", "an unknown command", "the workers' journals", "after close")


def test_a_right_driver_keeps_every_rule_that_it_claims(scripted: Scripted) -> None:
    found = list(check_driver(scripted()))
    assert [(tried.rule.number, tried.told) for tried in found if tried.kept is False] == []
    assert [tried.rule.number for tried in found if tried.kept is None] == ["D14"], "it claims no journal"


@pytest.mark.parametrize(
    ("word", "broken"),
    [
        ("twice", "many calls at the same time are each answered once"),
        ("logs", "open makes a pool"),
        ("rude", "close ends the calls that wait"),
        ("leaves", "after close calls are refused"),
        ("stays", "at the end of its stdin"),
    ],
)
def test_the_rule_that_a_driver_breaks_is_told(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch, word: str, broken: str
) -> None:
    monkeypatch.setattr(check, "EXIT_S", 0.3)
    monkeypatch.setattr(check, "LEAVE_S", 0.3)
    monkeypatch.setattr(check, "RULES", [rule for rule in RULES if rule.text.startswith(broken)])
    (tried,) = check_driver(scripted(word))
    assert tried.kept is False
    assert tried.told


def test_the_command_has_a_line_for_each_rule(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check, "RULES", [RULES[0], RULES[1], RULES[13]])
    assert main(["driver", "check", scripted()]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[:2]] == [["kept", "D1"], ["kept", "D2"]]
    assert lines[2].endswith("it does not claim the capability journal")
    assert lines[3] == "2 rules kept, 0 broken, 1 not tried"
    assert main(["driver", "check", scripted("logs")]) == 1
    assert "BROKEN     D2 " in capsys.readouterr().out
    assert main(["driver", "check", "no-such-driver"]) == 2


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_shipped_drivers_follow_the_protocol(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    command = EXAMPLES[name]
    if shutil.which(command.split()[0]) is None:
        pytest.skip(f"{command.split()[0]} is not installed")
    monkeypatch.setattr(check, "RULES", [rule for rule in RULES if rule.text.startswith(QUICK)])
    found = list(check_driver(command))
    assert len(found) == len(QUICK)
    assert [(tried.rule.text, tried.told) for tried in found if tried.kept is False] == []

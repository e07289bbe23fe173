"""What a person sees: a bar on a terminal, plain lines elsewhere, and text that is never taken for markup."""

from __future__ import annotations

import ast
import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from poolproof.harness.cli.output import Terminal, say, say_json, warn
from poolproof.harness.cli.tables import show_table
from poolproof.harness.cli.terminal import Steps, show_result
from poolproof.harness.compare.comparison import RunResult
from poolproof.harness.model.checker import Finding
from poolproof.harness.model.verdict import Verdict


def _console(*, terminal: bool) -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, force_terminal=terminal, width=100, color_system=None, legacy_windows=False), file


def test_without_a_terminal_each_ended_step_is_one_plain_line() -> None:
    console, file = _console(terminal=False)
    with Steps(console) as steps:
        steps.planned(2)
        steps.began("one [v1]")
        steps.ended("one [v1]", "pass")
        steps.began("two")
        steps.ended("two", "fail")
    assert file.getvalue() == "[1/2] one [v1]: pass\n[2/2] two: fail\n"


def test_on_a_terminal_there_is_a_bar_that_names_what_runs() -> None:
    console, file = _console(terminal=True)
    with Steps(console) as steps:
        steps.planned(5)
        for name in ("a", "b", "c", "d"):
            steps.began(name)
        steps.ended("a", "pass")
        assert steps._bar is not None
        steps._bar.refresh()
    told = file.getvalue()
    assert "1/5" in told
    assert "a: pass" in told
    assert "b, c, d" in told
    assert "a, b, c and 1 more" in told or "b, c, d" in told


def test_the_bar_tells_what_is_left_and_each_pool_s_outcomes() -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=200, color_system=None, legacy_windows=False)
    with Steps(console) as steps:
        steps.planned(4)
        for what, outcome in (
            ("a on v1", "fail"),
            ("a on v2", "pass"),
            ("b on v2", "pass"),
            ("the speed of a", "4.0 times"),
        ):
            steps.began(what)
            steps.ended(what, outcome)
        assert steps._bar is not None
        steps._bar.refresh()
    told = file.getvalue()
    assert "4/4" in told
    assert "left" in told
    assert "v1 1 fail · v2 2 pass" in told


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    def shown() -> str:
        file = io.StringIO()
        console = Console(file=file, force_terminal=True, width=100, color_system="standard", legacy_windows=False)
        show_result(console, RunResult(scenario="s", pool="v1", seed=7, verdict=Verdict.FAIL), {})
        return file.getvalue()

    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[31m" in shown()
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[31m" not in shown()


def test_quiet_is_silent_on_both() -> None:
    for terminal in (True, False):
        console, file = _console(terminal=terminal)
        with Steps(console, quiet=True) as steps:
            steps.planned(1)
            steps.began("one")
            steps.ended("one", "pass")
        assert file.getvalue() == ""


def test_a_result_shows_its_verdict_findings_reasons_and_examples() -> None:
    findings = (
        Finding(checker="overlap", verdict=Verdict.FAIL, claim="at most [1] worked", examples=("[red]call 3[/red]",)),
        Finding(checker="one_outcome", verdict=Verdict.PASS, claim="each had one", examples=("hidden",)),
    )
    result = RunResult(
        scenario="s", pool="v1", seed=7, verdict=Verdict.FAIL, findings=findings, folder="runs/s", trouble="a trouble"
    )
    console, file = _console(terminal=False)
    show_result(console, result, {"overlap": "one manager"})
    told = file.getvalue()
    assert "s on v1, face execute, observed, seed 7: fail, as declared" in told
    assert "overlap: at most [1] worked" in told
    assert "declared beforehand: one manager" in told
    assert "[red]call 3[/red]" in told
    assert "hidden" not in told
    assert "a trouble" in told
    console, file = _console(terminal=False)
    show_result(console, result, {})
    assert "seed 7: fail\n" in file.getvalue()
    console, file = _console(terminal=False)
    show_result(console, RunResult(scenario="s", pool="v1", seed=7, verdict=Verdict.UNKNOWN, skipped="lacks x"), {})
    assert file.getvalue() == "s on v1, face execute, observed, seed 7: skipped\n  lacks x\n"


def test_a_table_is_for_people_on_a_terminal_and_for_scripts_elsewhere() -> None:
    console, file = _console(terminal=False)
    show_table(console, ("a", "b"), [("1", "[x]"), ("2", "")])
    assert file.getvalue() == "1\t[x]\n2\t\n"
    console, file = _console(terminal=True)
    show_table(console, ("a", "b"), [("1", "[x]")])
    assert "[x]" in file.getvalue()


ATTACK = "\x1b[2J\x9b2J\u202e[bold]\nSAFE: v2 replacing v1\rSAFE\t\udcff"


@pytest.mark.parametrize("terminal", [False, True], ids=["plain", "terminal"])
def test_a_workers_text_neither_controls_the_terminal_nor_begins_a_line(terminal: bool) -> None:
    console, file = _console(terminal=terminal)
    found = Finding(checker=ATTACK, verdict=Verdict.FAIL, claim=ATTACK, examples=(ATTACK,), guarantees=())
    result = RunResult(
        scenario=ATTACK, pool=ATTACK, seed=1, face=ATTACK, verdict=Verdict.FAIL, findings=(found,), trouble=ATTACK,
        skipped="", replay=ATTACK, folder=ATTACK, unasked=(ATTACK,),
    )  # fmt: skip
    show_result(console, result, {ATTACK: ATTACK}, (ATTACK,))
    show_table(console, (ATTACK, "b"), [(ATTACK, ATTACK)])
    with Steps(console) as steps:
        steps.planned(1)
        steps.began(ATTACK)
        steps.ended(f"{ATTACK} on {ATTACK}", ATTACK)
    told = file.getvalue()
    told.encode()
    assert not {"\x9b", "\u202e", "\udcff"} & set(told)
    assert "\x1b[2J" not in told
    assert "SAFE" in told
    assert not any(line.lstrip("\r").startswith("SAFE") for line in told.split("\n"))
    if not terminal:
        assert not {"\x1b", "\r"} & set(told)


def test_what_commands_say_is_one_line_and_their_json_is_plain(capsys: pytest.CaptureFixture[str]) -> None:
    say(ATTACK)
    warn(ATTACK)
    say_json({"text": ATTACK.replace("\udcff", "")})
    Terminal(stderr=True).print(ATTACK, markup=False, highlight=False, soft_wrap=True)
    out, err = capsys.readouterr()
    assert [line.isprintable() for line in (*out.splitlines(), *err.splitlines())] == [True] * 4
    assert json.loads(out.splitlines()[1])["text"] == ATTACK.replace("\udcff", "")


COMMANDS = [
    path for folder in ("harness/cli", "harness/mutation", "harness/simulation") for path in Path(folder).rglob("*.py")
]
WRITERS = {"harness/cli/output.py", "harness/cli/terminal.py", "harness/simulation/power.py"}


@pytest.mark.parametrize("path", [str(path) for path in COMMANDS if str(path) not in WRITERS])
def test_commands_write_by_the_functions_that_make_text_safe(path: str) -> None:
    # A console of rich itself, a print or a write to a standard stream would let the text of a worker through.
    tree = ast.parse(Path(path).read_text())
    calls = [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    streams = {f"sys.{stream}.{write}" for stream in ("stdout", "stderr") for write in ("write", "writelines")}
    assert not {"Console", "print", *streams} & set(calls)
    echoed = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "typer.echo"]
    assert not echoed or path == "harness/cli/app.py"

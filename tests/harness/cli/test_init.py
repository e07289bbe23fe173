"""`poolproof init` writes files that run as they are, and overwrites nothing unasked."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from poolproof.harness.cli.app import main
from poolproof.harness.cli.starting import CI, Answers, Kind, files_for
from poolproof.harness.compare.catalogue import find_scenarios
from poolproof.harness.model.errors import UsageError
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.model.workload import Size
from poolproof.harness.run.request import Request
from poolproof.harness.run.runner import run
from poolproof.harness.subjects.pools import as_subject

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder from which modules are imported, and forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    for name in ("pools", "calls", "work", "clients", "scenario"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


@pytest.mark.parametrize("kind", list(Kind))
def test_the_example_of_each_kind_runs_as_it_is_written(kind: Kind, here: Path, capsys: Capture) -> None:
    assert main(["init", kind.value, "--no-run"]) == 0
    assert "written: pools.py" in capsys.readouterr().out
    written = {str(path.relative_to(here)) for path in here.rglob("*") if path.is_file()}
    assert {"pools.py", "calls.py", "scenario.py", "test_pools.py", CI} <= written
    made: dict[str, object] = {}
    exec((here / "pools.py").read_text(), made)
    request = Request(size=Size(workers=2, clients=2, scale=0.02), observed=False)
    for word in ("calls.py::calls_answers", "scenario.py::burst"):
        [scenario] = find_scenarios([word])
        result = run(scenario, as_subject(made["New"], "pools:New"), request, here / "out")
        assert (result.verdict, result.trouble, result.skipped) == (Verdict.PASS, "", ""), result.findings
    for name in ("pools", "calls", "work", "clients"):
        sys.modules.pop(name, None)


def test_the_users_own_pools_are_named_in_the_files() -> None:
    files = files_for(
        Answers(kind=Kind.EXECUTOR, old="app.pools:Old", new="app.fast:New", functions=("app.work:summarize",))
    )
    assert "New = executor_pool(app.fast.New, app.work.summarize)" in files["pools.py"]
    assert '"summarize"' in files["calls.py"]
    files = files_for(
        Answers(kind=Kind.HTTP, old="http://a:1/", new="http://127.0.0.1:{port}", new_start="serve {port}")
    )
    assert "Old = http_pool('http://a:1/{command}')" in files["pools.py"]
    assert "start='serve {port}', health='http://127.0.0.1:{port}/health')" in files["pools.py"]
    for kind in Kind:
        for name, text in files_for(Answers(kind=kind)).items():
            if name.endswith(".py"):
                ast.parse(text)


def test_no_file_is_overwritten_without_force(here: Path, capsys: Capture) -> None:
    (here / "calls.py").write_text("mine")
    assert main(["init", "callable", "--no-run"]) == 2
    assert "calls.py already; --force overwrites" in capsys.readouterr().err
    assert [path.name for path in here.iterdir()] == ["calls.py"]
    assert main(["init", "callable", "--no-run", "--force"]) == 0
    assert "overwritten: calls.py" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"old": "a:b"}, "belong together"),
        ({"old": "a:b", "new": "a:c"}, "--function"),
        ({"old": "a", "new": "a:c", "functions": ("a:f",)}, "'a': module:name is needed"),
        ({"old": "a:b;c", "new": "a:c", "functions": ("a:f",)}, "module:name is needed"),
    ],
)
def test_what_is_wrong_is_said(fields: dict[str, object], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        Answers(kind=Kind.EXECUTOR, **fields)  # type: ignore[arg-type]


def test_without_a_terminal_the_kind_must_be_given(here: Path, capsys: Capture) -> None:
    assert main(["init"]) == 2
    assert "which kind of pool? one of executor, async, callable, http" in capsys.readouterr().err

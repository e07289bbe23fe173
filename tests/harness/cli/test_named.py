"""Stored results are read again without importing or executing what only they name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from poolproof.harness.cli.app import main
from poolproof.harness.model.errors import UsageError
from poolproof.harness.subjects.named import Named

Capture = pytest.CaptureFixture[str]

MINE = """
from poolproof.harness.checkers import CORE
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.workload import Size, Step
from poolproof.harness.model.workload import steady
TINY = Scenario(name="tiny", summary="two calls", workload=steady("echo", calls=2), checkers=CORE,
                fixed_size=Size(workers=1, clients=1))
"""
EVIL = MINE + "\nfrom pathlib import Path\nPath('executed').write_text('')\n"


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a run of a scenario file, whose artefacts then name another file, which leaves a trace."""
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(MINE)
    Path("evil.py").write_text(EVIL)
    assert main(["run", "mine.py", "--not-observed", "-q", "--out", "kept"]) == 0
    (run,) = Path("kept").glob("tiny-*")
    return run


def _rewrite(path: Path, **fields: object) -> None:
    told: dict[str, Any] = msgspec.json.decode(path.read_bytes())
    path.write_bytes(msgspec.json.encode(told | fields))


def test_the_scenario_file_that_a_run_names_is_not_imported(kept: Path, capsys: Capture) -> None:
    _rewrite(kept / "run.json", file=str(Path("evil.py").resolve()))
    for command in ("analyze", "shrink"):
        assert main([command, str(kept)]) == 2
        told = capsys.readouterr().err
        assert f"name the scenario file {Path('evil.py').resolve()}, which would be imported" in told
    assert main(["analyze", str(kept), "--import", "mine.py"]) == 2
    assert main(["report", str(kept)]) == 0
    assert not Path("executed").exists()
    assert main(["analyze", str(kept), "--import", "evil.py"]) == 0
    assert Path("executed").exists(), "what the user names is imported"


def test_the_scenario_files_that_a_comparison_names_are_not_imported(kept: Path, capsys: Capture) -> None:
    pools = ["--baseline", "v2", "--candidate", "v2"]
    main(["compare", "mine.py", *pools, "--workers", "1", "--explore", "0", "-q", "--out", "both"])
    stored = Path("both/comparison.json")
    told = msgspec.json.decode(stored.read_bytes())
    told["scenarios"][0]["file"] = str(Path("evil.py").resolve())
    stored.write_bytes(msgspec.json.encode(told))
    for command in ("analyze", "report", "open", "site"):
        main([command, "both"])
    assert "which would be imported" in capsys.readouterr().err
    assert not Path("executed").exists()


def test_the_pool_and_the_worker_command_that_a_run_names_are_not_used(kept: Path, capsys: Capture) -> None:
    Path("evil_pool.py").write_text(EVIL)
    for field in ("pool", "baseline"):
        for pool in ("evil_pool:make", "slower:10:evil_pool:make", "slower:10:slower:5:evil_pool:make"):
            _rewrite(kept / "run.json", **{field: pool})
            assert main(["shrink", str(kept), "--import", "mine.py"]) == 2
            assert "add --import evil_pool:make" in capsys.readouterr().err
        _rewrite(kept / "run.json", **{field: "v2"})
    _rewrite(kept / "run.json", worker_command="touch executed")
    assert main(["shrink", str(kept), "--import", "mine.py"]) == 2
    assert "the worker command 'touch executed', which would be executed" in capsys.readouterr().err
    assert not Path("executed").exists()


def test_the_scenario_file_that_a_plan_names_is_not_imported(kept: Path, capsys: Capture) -> None:
    plan = {"scenario": "tiny", "file": "evil.py", "pool": "v2", "seed": 1, "workers": 1}
    Path("plan.json").write_bytes(msgspec.json.encode(plan | {"plan": [[{"command": "echo"}]]}))
    pools = ["--baseline", "v2", "--candidate", "v2"]
    for words in (["run"], ["compare", *pools], ["bench", *pools], ["migrate", "validate", "--no-docs"]):
        assert main([*words, "plan.json", "-q"]) == 2
        assert "evil.py, which would be imported" in capsys.readouterr().err
    assert not Path("executed").exists()
    assert main(["run", "plan.json", "--import", "evil.py", "--not-observed", "-q"]) == 0


def test_a_run_of_the_catalogue_needs_no_permission(kept: Path) -> None:
    assert main(["run", "any_json", "--not-observed", "-q", "--out", "own"]) == 0
    (run,) = Path("own").glob("any_json-*")
    assert main(["analyze", str(run)]) == 0


def test_only_the_named_file_itself_is_permitted(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("")
    named = Named([f"{tmp_path}/a.py::one", "package.module:make"])
    named.require_scenario(f"{tmp_path}/a.py")
    named.require_scenario(f"{tmp_path}/../{tmp_path.name}/a.py::two")
    named.require_scenario("parallel_calls")
    named.require_pool("v1")
    named.require_pool("slower:10:v1")
    named.require_pool("slower:10:package.module:make")
    named.require_command("")
    with pytest.raises(UsageError):
        named.require_scenario(f"{tmp_path}/b.py")
    with pytest.raises(UsageError):
        named.require_pool("package.module:other")


def test_a_baseline_imports_nothing_that_only_it_names(kept: Path, capsys: Capture) -> None:
    code = """if True:
        import sys
        from pathlib import Path
        from poolproof.harness.cli.app import main
        sys.exit(main(["baseline", "check", "b", "--allow-machine-change", "-q"]))"""
    assert main(["bench", "--call", "echo", "--rounds", "2", "--block-seconds", "0.05", "-q", "--out", "timed"]) in (
        0,
        1,
        3,
    )
    assert main(["baseline", "save", "b", "--from", "timed"]) == 0
    (stored,) = [path for path in Path().rglob("b*.json") if "timed" not in path.parts]
    told = msgspec.json.decode(stored.read_bytes())
    for fields, expected in (
        ({"call": "", "file": str(Path("evil.py").resolve()), "work": "tiny"}, "the scenario file"),
        ({"candidate": "evil:make"}, "the pool 'evil:make'"),
    ):
        benches = [bench | fields for bench in told["benches"]]
        stored.write_bytes(msgspec.json.encode(told | {"benches": benches}))
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
        assert done.returncode == 2, done
        assert expected in done.stderr
        assert not Path("executed").exists()

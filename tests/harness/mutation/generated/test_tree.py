"""Planting: every process of a run loads the planted source, however it is started."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from poolproof.harness.compare.catalogue import find_scenarios
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.mutation.generated.survey import read_sources
from poolproof.harness.mutation.generated.tree import Tree, fence, package_folder
from poolproof.harness.run.runner import Request
from poolproof.harness.subjects.pools import find_pool

ECHO = "bridge/worker/handlers/exercise.py"
ASK_POOLS = """
import json
from contextlib import closing
from poolproof.bridge import PoolConfig
from poolproof.pool_v1 import PoolV1
from poolproof.pool_v2 import PoolV2
told = {}
for name, make, more in (("v1", PoolV1, {}), ("v2", PoolV2, {}), ("zygote", PoolV2, {"zygote": True})):
    with closing(make(PoolConfig(workers=1, **more))) as pool:
        told[name] = pool.execute("echo", {"value": 1}, timeout_s=30.0)
print(json.dumps(told))
"""
ASK_CHILDREN = """
import os, subprocess, sys
import poolproof
from poolproof.bridge.processes.interpreter import adopt, environment
adopt()
print(poolproof.__file__)
if sys.argv[1] != "0":
    words = [sys.executable, "-P", "-c", os.environ["ASK"], str(int(sys.argv[1]) - 1)]
    print(subprocess.check_output(words, env={**os.environ, **environment()}, text=True, cwd="/"))
"""


@pytest.fixture
def tree() -> Iterator[Tree]:
    """A tree in which `echo` answers "planted"."""
    text = read_sources()[ECHO]
    answer = 'return args.get("value", args)'
    assert text.count(answer) == 1
    with Tree({ECHO: text.replace(answer, 'return "planted"')}) as found:
        yield found


def test_a_file_that_is_not_there_is_an_error() -> None:
    with pytest.raises(KeyError, match=r"no file pool_v2/gone\.py"):
        with Tree({"pool_v2/gone.py": ""}):
            pass


def test_the_copy_is_the_package_but_for_one_file() -> None:
    with Tree({ECHO: "planted = 1\n"}) as tree:
        copy, home = tree.path / "poolproof", package_folder()
        assert (copy / ECHO).read_text() == "planted = 1\n"
        names = {path.relative_to(copy) for path in copy.rglob("*.py")} - {Path(ECHO)}
        assert len(names) > 200
        assert all((copy / name).read_bytes() == (home / name).read_bytes() for name in names)
        path = tree.path
    assert not path.exists()


def test_workers_of_every_pool_and_of_a_zygote_load_the_planted_file(tree: Tree) -> None:
    done = tree.run_program("-P", "-c", ASK_POOLS, timeout_s=120.0)
    assert json.loads(done.stdout) == {"v1": "planted", "v2": "planted", "zygote": "planted"}, done.stderr


def test_children_of_children_load_the_copy(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASK", ASK_CHILDREN)
    done = tree.run_program("-P", "-c", ASK_CHILDREN, "2", timeout_s=60.0)
    assert done.stdout.split() == [str(tree.path / "poolproof" / "__init__.py")] * 3, done.stderr


def test_a_run_of_the_job_server_loads_the_planted_file(tree: Tree, tmp_path: Path) -> None:
    (scenario,) = find_scenarios(["any_json"])
    request = Request(observed=False)
    with tree.serve_jobs() as server:
        result = server.start_job(scenario, find_pool("v2"), request, tmp_path).result(90.0)
    failed = {found.checker for found in result.findings if found.verdict is Verdict.FAIL}
    assert "own_answer" in failed, result.trouble
    with Tree({}) as shipped, shipped.serve_jobs() as server:
        good = server.start_job(scenario, find_pool("v2"), request, tmp_path).result(90.0)
    assert good.verdict is Verdict.PASS, good.findings


def test_a_program_that_does_not_end_is_ended_with_all_that_it_started(tree: Tree) -> None:
    code = "import subprocess, time; subprocess.Popen(['sleep', '987']); time.sleep(987)"
    with pytest.raises(subprocess.TimeoutExpired):
        tree.run_program("-c", code, timeout_s=2.0)
    if fence():
        mine = [each for each in psutil.process_iter(["cmdline"]) if each.info["cmdline"] == ["sleep", "987"]]
        assert mine == []


def test_pools_of_the_copy_keep_their_names_to_themselves(tree: Tree) -> None:
    assert tree.variables["POOLPROOF_RUNTIME_DIR"] == str(tree.runtime)
    assert tree.variables["PYTHONPATH"].split(os.pathsep)[0] == str(tree.path)


def test_what_a_program_writes_into_its_folder_is_deleted_with_the_copy(tree: Tree) -> None:
    done = tree.run_program("-c", "import os; open('left', 'w').close(); print(os.getcwd())", timeout_s=60.0)
    assert Path(done.stdout.strip()) == tree.work
    assert (tree.work / "left").exists()

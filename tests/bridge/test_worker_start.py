"""What a worker imports until its first call: each module is paid for in every start and every replacement."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from poolproof.bridge import PoolConfig
from poolproof.bridge.worker.program import LATER, USAGE, main
from poolproof.pool_v2 import PoolV2

ROOT = Path(__file__).parents[2]
BRIDGE = """
    clock errors safe_text suggestion
    dspy dspy.programs
    processes processes.interpreter
    wire wire.buffers wire.framing wire.messages wire.replies
    worker worker.journal worker.program
    worker.handlers worker.handlers.callables worker.handlers.context worker.handlers.engine worker.handlers.exercise
    worker.handlers.keyvalue worker.handlers.service worker.handlers.streams
"""
OWN = {"poolproof", "poolproof.bridge", *(f"poolproof.bridge.{name}" for name in BRIDGE.split())}
"""What a worker imports of this package."""
LIBRARY = {
    *("contextlib", "errno", "importlib", "math", "resource", "select", "signal", "struct", "threading"),
    *("unicodedata", "warnings", "zlib"),
}
"""What a worker imports of the standard library, if msgspec has not imported it. Private modules are not counted."""
RARELY = {"poolproof.bridge.dspy.engine", "poolproof.bridge.redaction"}
"""What a zygote does not import for its workers: DSPy has to be asked for, and no worker shows a request."""
START = """
import msgspec, sys
before = set(sys.modules)
from poolproof.bridge.worker.program import main
status = main(["--worker-id", "1"])
print(status, *sorted(set(sys.modules) - before), file=sys.stderr)
"""
LOOK = """
import sys
COMMANDS = {"modules": lambda context, args: sorted(sys.modules)}
"""


def test_a_worker_imports_only_what_it_needs_to_start() -> None:
    # -S: what the .pth files of an environment import is not the worker's.
    done = subprocess.run(
        [sys.executable, "-S", "-P", "-c", START],
        env={"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    status, *imported = done.stderr.split()
    assert (status, done.stdout) == ("0", "")
    assert {name for name in imported if name.startswith("poolproof")} == OWN
    assert {name.partition(".")[0] for name in imported if not name.startswith(("poolproof", "_"))} <= LIBRARY


def test_whatever_a_worker_imports_within_a_function_its_zygote_imports_before() -> None:
    paths = [ROOT.joinpath(*name.split(".")) for name in OWN]
    files = [path / "__init__.py" if path.is_dir() else path.with_suffix(".py") for path in paths]
    within = {
        node.module
        for file in files
        if file.parent.name != "poolproof"
        for function in ast.walk(ast.parse(file.read_text()))
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.ImportFrom)
    }
    assert within == {*LATER, *RARELY}


def test_a_forked_worker_has_what_calls_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "commands_that_look.py").write_text(LOOK)
    monkeypatch.syspath_prepend(str(tmp_path))
    config = PoolConfig(workers=1, zygote=True, env={"POOLPROOF_COMMANDS": "commands_that_look"})
    with PoolV2(config) as pool:
        assert set(LATER) <= set(pool.execute("modules"))


@pytest.mark.parametrize("words", [["--worker-id"], ["--worker-id", "x"], ["--worker-id=-1"], ["--other", "1"], ["1"]])
def test_invalid_options_are_named_with_the_valid_ones(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err == f"invalid options: {' '.join(words)}\n{USAGE}\n"

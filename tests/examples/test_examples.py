"""The examples are run as their users run them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

EXAMPLES = Path(__file__).parent.parent.parent / "examples"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the examples, so that nothing is written beside them."""
    return Path(shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__", "out")))


def _poolproof(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "poolproof", *words, "-q"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)


def test_the_scenarios_compare_and_what_was_declared_and_not_seen_is_told(folder: Path) -> None:
    done = _poolproof(folder, "compare", "my_scenarios.py", "--baseline", "v2", "--candidate", "my_pool:make")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "28 operations were compared" in done.stdout
    assert (
        "my_pool:make was declared to give different answers where the label is 'late' in indeterminate" in done.stdout
    )


def test_the_conformance_tests_pass_as_a_suite_of_ones_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    options = ["--junit-xml", "results.xml", "--rootdir", ".", "-p", "no:cacheprovider", "-p", "no:hypothesispytest"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "test_conformance.py", "-k", "exit_in_call or mixed or short"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    suite = ElementTree.parse(folder / "results.xml").find("testsuite")
    assert suite is not None
    assert [suite.get(key) for key in ("tests", "failures", "errors", "skipped")] == ["3", "0", "0", "1"], "one xfailed"

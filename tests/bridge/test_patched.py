"""A program whose threads are green ones is refused with an error that says what to leave as it is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

LIBRARY = """
import _thread, select, threading

def start_green(function, args, kwargs={}):
    raise AssertionError("a green thread was started")

def patch_all(thread=True, select=True, os=True):
    if thread:
        _thread.start_new_thread = threading._start_new_thread = start_green
    if select:
        del globals()["select"].epoll
    if os:
        __import__("os").posix_spawnp = start_green
"""
PROGRAM = """
import sys
if sys.argv[1] == "before":
    {patch}
from poolproof import AsyncPool, PoolConfig, PoolExecutor, PoolV1, PoolV2
from poolproof.bridge import ConfigError
if sys.argv[1] == "after":
    {patch}
for make in (PoolV1, PoolV2, AsyncPool, PoolExecutor):
    try:
        pool = make()
    except ConfigError as error:
        print(error)
    else:
        print("made")
        pool.shutdown() if make is PoolExecutor else pool.threads.close() if make is AsyncPool else pool.close()
"""


def run(folder: Path, when: str, patch: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(patch=patch), when],
        cwd=folder,
        env=os.environ | {"PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A folder with a package `gevent` that replaces what gevent replaces."""
    (tmp_path / "gevent").mkdir()
    (tmp_path / "gevent/__init__.py").touch()
    (tmp_path / "gevent/monkey.py").write_text(LIBRARY)
    return tmp_path


@pytest.mark.parametrize("when", ["before", "after"])
def test_green_threads_are_refused_before_and_after_the_import(library: Path, when: str) -> None:
    told = run(library, when, "import gevent.monkey; gevent.monkey.patch_all()")
    assert len(told) == 4
    for line in told:
        assert line.startswith("gevent has replaced threading, select, os of the standard library")
        assert "patch_all(thread=False, select=False, os=False, signal=False)" in line


def test_what_is_left_as_it_is_is_enough(library: Path) -> None:
    told = run(library, "before", "import gevent.monkey; gevent.monkey.patch_all(thread=False, select=False, os=False)")
    assert told == ["made"] * 4


@pytest.mark.parametrize("patch", ["gevent.monkey; gevent.monkey.patch_all()", "eventlet; eventlet.monkey_patch()"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_the_libraries_themselves_are_refused(tmp_path: Path, when: str, patch: str) -> None:
    name = patch.partition(";")[0].partition(".")[0]
    pytest.importorskip(name)
    for line in run(tmp_path, when, f"import {patch}"):
        assert line.startswith(f"{name} has replaced")

"""What every test relies on: to be told which processes are this one's, and its tests', doing."""

from __future__ import annotations

import dis
import inspect
import os
import sys
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import psutil
import pytest

IN_CHILDREN = (
    "bridge/",
    "harness/test_job",
    "harness/test_faulty_worker",
    "harness/test_cli_ends",
    "harness/selfcheck/",
)


@pytest.fixture(scope="session", autouse=True)
def gate_of_this_process(tmp_path_factory: pytest.TempPathFactory) -> None:
    """These tests time nothing, so they wait for no bench of this machine, and no other process waits for theirs."""
    os.environ["POOLPROOF_GATE_DIR"] = str(tmp_path_factory.mktemp("gate"))


@pytest.fixture(scope="module", autouse=True)
def measured_children(request: pytest.FixtureRequest) -> Iterator[None]:
    """Under coverage the processes that a test starts are measured too, where their own code is what is tested.

    Elsewhere they are not: to measure thousands of workers costs more than the tests.
    """
    with pytest.MonkeyPatch.context() as patch:
        path = request.path.relative_to(Path(__file__).parent).as_posix()
        if not path.startswith(IN_CHILDREN):
            patch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
        yield


@pytest.fixture(scope="session")
def family() -> Callable[[], set[psutil.Process]]:
    """The processes that this one has started, and theirs.

    Trackers are left out: multiprocessing and loky keep a process each that notes semaphores until the interpreter
    ends, whichever test made the first. (To stop one earlier removes semaphores that somebody still holds.)
    """
    return lambda: {child for child in psutil.Process().children(recursive=True) if not _tracks(child)}


def _tracks(process: psutil.Process) -> bool:
    try:
        return any("resource_tracker" in word for word in process.cmdline())
    except psutil.Error:  # it has ended, or is about to
        return False


CHECKPOINTS = {dis.opmap[name] for name in ("CALL", "CALL_KW", "CALL_FUNCTION_EX", "RESUME") if name in dis.opmap}
"""After these the interpreter looks for interrupts."""


def _interrupted_after(step: int, work: Callable[[], object], files: Collection[str]) -> bool:
    left, after_call, former = step, False, sys.gettrace()

    def within(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left, after_call
        if event == "opcode":
            if after_call:
                left -= 1
                if left < 0:
                    sys.settrace(None)
                    frame.f_trace = None
                    raise KeyboardInterrupt
            after_call = frame.f_code.co_code[frame.f_lasti] in CHECKPOINTS
        return within

    def begun(frame: FrameType, _: str, __: object) -> Any:
        code = frame.f_code
        if code.co_filename not in files or code.co_flags & inspect.CO_GENERATOR:
            return None  # in a generator that is finalized the interpreter drops what is raised
        # From 3.12 on there are opcode events only if the frame has its trace function before it asks for them (3.13),
        # and if the thread's is set after that (3.12).
        frame.f_trace = within
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        sys.settrace(begun)
        return within

    sys.settrace(begun)
    try:
        work()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(former)
    return False


@pytest.fixture
def interrupted_after() -> Iterator[Callable[[int, Callable[[], object], Collection[str]], bool]]:
    """Do some work; a KeyboardInterrupt comes after the n-th call that the files' code makes, if there are so many.

    Gives whether it came, so that a test can try every place where Ctrl-C may. A test to which none came has failed.
    """
    came = 0

    def interrupted(step: int, work: Callable[[], object], files: Collection[str]) -> bool:
        nonlocal came
        reached = _interrupted_after(step, work, files)
        came += reached
        return reached

    yield interrupted
    assert came, "no interrupt came, so nothing was shown"

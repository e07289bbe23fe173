"""What every test relies on: to be told which processes are this one's, and its tests', doing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

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

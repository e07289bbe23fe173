"""What the tests of the benchmarks share: a tiny effort, instant systems, and a look for children that were left."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

sys.path.append(str(Path(__file__).parent.parent.parent))  # benchmarks/ is installed nowhere

from benchmarks import machine
from benchmarks.effort import Effort

Execute = Callable[[str, dict[str, Any]], Any]
System = Callable[[int], AbstractContextManager[Execute]]


@pytest.fixture
def tiny() -> Effort:
    """As little as there can be of everything."""
    return Effort(
        name="tiny",
        seed=1,
        rounds=2,
        block_s=0.02,
        contenders=(2, 8),
        contended_rounds=2,
        contended_block_s=0.02,
        workers=2,
        repeats=2,
        starts=2,
        start_workers=2,
        crowd=3,
        crowd_rounds=2,
        crowd_block_s=0.1,
        runs=2,
        run_s=0.01,
        transfer_rounds=2,
        largest_bytes=16_000,
        largest_array_bytes=100_000,
        mapped_calls=20,
        late_calls=2,
        sessions=500,
        session_rounds=2,
        pool_sessions=40,
        late_clients=(1, 2),
        limit_s=60,
        total_s=504,
    )


@pytest.fixture
def instant() -> Callable[[list[str]], System]:
    """Makes a system without processes; what happens to it is written into the list."""

    def make(log: list[str]) -> System:
        @contextmanager
        def system(workers: int) -> Iterator[Execute]:
            log.append(f"open {workers}")
            try:
                yield lambda command, args: args["value"]
            finally:
                log.append("close")

        return system

    return make


@pytest.fixture
def own_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A measuring lock of the test's own, so that it never waits for a real measurement, and hardly any rest."""
    monkeypatch.setenv("POOLPROOF_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(machine, "REST_S", 0.01)


@pytest.fixture(autouse=True)
def _no_children_left() -> Iterator[None]:
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    yield
    left = [child for child in psutil.Process().children(recursive=True) if child.pid not in before]
    _, alive = psutil.wait_procs(left, timeout=10)
    assert not alive, f"left behind: {alive}"

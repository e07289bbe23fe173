"""Who holds the workers: their stacks are read without harm to the process, and without the pool's own frames."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from poolproof.pool_v2.core.ticket import Ticket
from poolproof.pool_v2.core.worker_table import Worker
from poolproof.pool_v2.running import holders
from poolproof.pool_v2.running.holders import MOST_HOLDERS, describe_holders

ROOT = Path(__file__).parent.parent.parent
HARD_LIMIT_S = 60
BUSY = """
# Threads come and go, others always have new frames, and what is collected closes descriptors.
import gc, select, sys, threading, time
from poolproof.pool_v2.running.holders import _look

class Knot: pass

def tie():
    knot = Knot()
    knot.itself, knot.descriptor = knot, select.epoll()

def nap():
    time.sleep(0.0005)

def again(work):
    while not done:
        work()

def come_and_go():
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()

done = []
for work in [come_and_go] * 2 + [nap] * 30:
    threading.Thread(target=again, args=(work,), daemon=True).start()
gc.set_threshold(7, 1, 1)
for _ in range(10_000):
    tie()
    assert threading.get_ident() in _look.frames()
done.append(True)
print("alive")
"""


def held(call: int, thread_id: int) -> Ticket:
    ticket = Ticket(call, thread_id=thread_id)
    ticket.worker = Worker(call)
    return ticket


def test_a_holder_is_told_with_its_thread_and_its_place() -> None:
    [told] = describe_holders([held(7, threading.get_ident())])

    assert told.startswith(f"call 7 holds worker 7, in thread {threading.get_ident()}\n")
    assert "test_a_holder_is_told_with_its_thread_and_its_place" in told
    assert "pool_v2/running/holders.py" not in told


def test_a_holder_whose_thread_is_gone_is_told_without_a_place() -> None:
    assert describe_holders([held(7, 1)]) == ("call 7 holds worker 7, in thread 1",)


def test_a_few_are_enough_and_none_is_nothing() -> None:
    assert describe_holders([]) == ()
    assert len(describe_holders([held(call, 1) for call in range(3 * MOST_HOLDERS)])) == MOST_HOLDERS


@pytest.mark.parametrize("collecting", [True, False])
def test_no_garbage_is_collected_meanwhile_and_then_as_before(
    monkeypatch: pytest.MonkeyPatch, collecting: bool
) -> None:
    seen = []

    def frames() -> dict[int, FrameType]:
        seen.append(gc.isenabled())
        return {}

    monkeypatch.setattr(sys, "_current_frames", frames)
    if not collecting:
        gc.disable()
    try:
        describe_holders([held(1, 1)])
        assert gc.isenabled() is collecting
    finally:
        gc.enable()
    assert seen == [False]


def test_an_error_on_the_way_leaves_the_collection_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    def frames() -> dict[int, FrameType]:
        raise MemoryError

    monkeypatch.setattr(sys, "_current_frames", frames)
    with pytest.raises(MemoryError):
        describe_holders([held(1, 1)])
    assert gc.isenabled()
    assert not holders._look._lock.locked()


def test_wherever_ctrl_c_comes_garbage_is_collected_afterwards(interrupted_after: Any) -> None:
    steps = 0
    while interrupted_after(steps, holders._look.frames, {holders.__file__}):
        assert gc.isenabled(), f"step {steps}"
        assert not holders._look._lock.locked(), f"step {steps}"
        steps += 1
    assert steps > 3


def test_a_child_that_is_forked_meanwhile_collects_and_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    real = sys._current_frames
    statuses = []

    def frames() -> dict[int, FrameType]:
        child = os.fork()
        if child == 0:
            monkeypatch.undo()
            well = gc.isenabled() and threading.get_ident() in holders._look.frames() and gc.isenabled()
            os._exit(0 if well else 1)
        statuses.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        return real()

    monkeypatch.setattr(sys, "_current_frames", frames)
    describe_holders([held(1, 1)])

    assert statuses == [0]
    assert gc.isenabled()


def test_a_process_full_of_threads_and_garbage_goes_on() -> None:
    # Without the pause of the collection this stands still at once on CPython 3.11.
    done = subprocess.run(
        [sys.executable, "-c", BUSY], cwd=ROOT, capture_output=True, text=True, timeout=HARD_LIMIT_S, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "alive\n", "")

"""Processes that this program has adopted, seen as a subreaper sees them."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import ctypes, os, signal, sys, time
from poolproof.bridge.machine import adopted
from poolproof.bridge.machine.procfs import start_ticks
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER

told, tell = os.pipe()
parent = os.fork()
if parent == 0:
    child = os.fork()
    if child == 0:
        os.setsid()
        os.write(tell, os.getpid().to_bytes(4, "little"))
        signal.pause()
    os.setsid()
    signal.pause()
child = int.from_bytes(os.read(told, 4), "little")
both = [(pid, start_ticks(pid)) for pid in (parent, child)]
looked = []

def sleep(seconds):
    # The child ends first, and its parent, which never waits for it, only after somebody has looked.
    looked.append(seconds)
    if len(looked) == 3:
        os.kill(parent, signal.SIGKILL)
    time.sleep(seconds)

adopted.CLOCK = type("Slow", (), {"sleep": staticmethod(sleep)})
os.kill(child, signal.SIGKILL)
adopted.await_adopted(both, 30.0)
assert len(looked) >= 3, looked
print([start_ticks(pid, zombie=True) for pid, _ in both])
"""


def test_a_process_is_reaped_that_is_adopted_only_after_its_parent_has_ended() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("[None, None]\n", "")

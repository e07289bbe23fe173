"""A worker that is killed before its zygote has forked it: wherever that breaks off, nothing is closed twice."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable
from typing import Any

from poolproof.bridge.processes import process
from poolproof.bridge.processes.zygote import forked
from poolproof.bridge.processes.zygote.forked import ForkedWorker

FILES = {forked.__file__, process.__file__}


def test_a_kill_that_is_broken_off_anywhere_is_done_by_the_next_and_closes_nothing_of_others(
    interrupted_after: Callable[..., bool], monkeypatch: Any
) -> None:
    for step in itertools.count():
        worker = ForkedWorker.prepare(1)
        closed: list[int] = []
        close = os.close
        with monkeypatch.context() as patched:
            patched.setattr(os, "close", lambda fd, closed=closed: (closed.append(fd), close(fd)))  # noqa: B023
            came = interrupted_after(step, worker.kill, FILES)
            kept = [os.open(os.devnull, os.O_RDONLY) for _ in range(8)]  # whoever has the numbers now
            worker.kill()
            assert worker.exited()
            worker.close()
        assert len(closed) == len(set(closed)), f"closed twice after step {step}"
        for fd in kept:
            os.fstat(fd)
            os.close(fd)
        with contextlib.suppress(OSError):
            os.close(worker.stderr_fd)
        if not came:
            break
    assert step > 5

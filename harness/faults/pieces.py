"""Lets a worker write each of its frames in two pieces, so that a frame, and even its header, arrives in two reads.

Only a worker whose environment has the variable does so. A frame that goes through a reply pipe is atomic and stays so.
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from poolproof.harness.model.fault import PIECES_VARIABLE

FIRST_BYTES = (1, 3, 2, 4, 7, 64)
"""The sizes of the first piece, in turn: within the header, at its end, and behind it."""
PAUSE_S = 0.0002
"""The pause between the pieces, in which the reader wakes up."""
PROGRAMS = ("__main__", "poolproof.bridge.worker.program")
"""The names that the worker's program may have in its process: it is run as a program, or imported by a zygote."""


def in_pieces(write: Callable[[Any, bytes], None]) -> Callable[[Any, bytes], None]:
    """Return a method that writes the same bytes as the method `write`, in two pieces."""
    sizes = itertools.cycle(FIRST_BYTES)

    def write_in_pieces(wire: Any, data: bytes) -> None:  # noqa: ANN401 - the worker's Wire
        first = next(sizes)
        write(wire, data[:first])
        if len(data) > first:
            time.sleep(PAUSE_S)
            write(wire, data[first:])

    return write_in_pieces


def begin() -> None:
    """Let the worker in this process write in pieces from now on, if its environment says so."""
    if os.environ.get(PIECES_VARIABLE):
        for name in PROGRAMS:
            wire = getattr(sys.modules.get(name), "Wire", None)
            if wire is not None:
                wire.write_raw = in_pieces(wire.write_raw)

"""Where a user's own modules are found: a pool's factory, a scenario file and what it imports.

While such a module is imported its folders come first, as with `python -m`. Afterwards they come last, for this process
and for its children, so that no file in them can stand in for a module that is imported late, such as that of a chart.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from poolproof.bridge.processes.interpreter import first_of_library


@contextmanager
def importing_from(*folders: str | os.PathLike[str]) -> Iterator[None]:
    """Put these folders first in `sys.path`, and last after the block, unless they came before the library already."""
    early = sys.path[: first_of_library(sys.path)]
    moved = [folder for folder in map(os.path.abspath, dict.fromkeys(folders)) if folder not in early]
    sys.path[:] = moved + [entry for entry in sys.path if entry not in moved]
    try:
        yield
    finally:
        sys.path[:] = [entry for entry in sys.path if entry not in moved] + moved

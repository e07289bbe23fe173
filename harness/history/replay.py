"""The one line that repeats a run from its seed.

Pure. It names everything that decides a run; what is left to chance is the machine's timing.
"""

from __future__ import annotations

import shlex

from poolproof.harness.history.history import RunInfo


def replay_command(info: RunInfo) -> str:
    """A shell line that runs the same scenario on the same pool with the same seed and size."""
    what = f"{info.file}::{info.scenario}" if info.file else info.scenario
    words = ["poolproof", "run", what, "--pool", info.pool, "--seed", str(info.seed)]
    words += ["--workers", str(info.workers), "--clients", str(info.clients)]
    if info.profile != "quick":
        words += ["--profile", info.profile]
    if info.worker_command:
        words += ["--worker-command", info.worker_command]
    return shlex.join(words + way_words(info))


def way_words(info: RunInfo) -> list[str]:
    """The options that say in which way the pool was called."""
    words = ["--face", info.face, "--observed" if info.observed else "--not-observed"]
    return words + (["--baseline", info.baseline] if info.baseline else [])

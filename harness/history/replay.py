"""Makes the command line that repeats a run from its seed.

Pure. The command names everything that determines a run; only the timing of the machine is left to chance.
"""

from __future__ import annotations

import shlex

from poolproof.harness.history.history import RunInfo


def replay_command(info: RunInfo) -> str:
    """Return a shell command that runs the same scenario on the same pool with the same seed, size and face."""
    what = f"{info.file}::{info.scenario}" if info.file else info.scenario
    words = ["poolproof", "run", what, "--pool", info.pool, "--seed", str(info.seed)]
    words += ["--workers", str(info.workers), "--clients", str(info.clients)]
    if info.profile != "quick":
        words += ["--profile", info.profile]
    if info.worker_command:
        words += ["--worker-command", info.worker_command]
    return shlex.join(words + way_words(info))


def way_words(info: RunInfo) -> list[str]:
    """Return the command options for the face, the observer and the baseline of the run."""
    words = ["--face", info.face, "--observed" if info.observed else "--not-observed"]
    return words + (["--baseline", info.baseline] if info.baseline else [])

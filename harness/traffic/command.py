"""`poolproof compare --traffic`: replays a recording on both pools. Entry point."""

from __future__ import annotations

from pathlib import Path

from poolproof.bridge import Capability, PoolConfig, PoolError
from poolproof.bridge.recording import Recording, RecordingError, read_recording
from poolproof.harness.compare.differential import USUAL
from poolproof.harness.model.errors import RunError, UsageError
from poolproof.harness.model.intended import Comparing
from poolproof.harness.run.names import pool_name
from poolproof.harness.run.runner import Subject
from poolproof.harness.traffic.comparison import TrafficComparison, compare_traffic
from poolproof.harness.traffic.outcome import Answer
from poolproof.harness.traffic.replay import replay


def compare_recording(
    path: Path,
    baseline: Subject,
    candidate: Subject,
    *,
    workers: int,
    speed: float = 1.0,
    comparing: Comparing = USUAL,
) -> TrafficComparison:
    """Replay the recording twice on the baseline and once on the candidate, one after the other, and compare.

    Raises UsageError if the recording cannot be read, and RunError if a pool cannot be started.
    """
    if not 0.01 <= speed <= 1000:
        raise UsageError(f"--speed {speed:g}: must be a number from 0.01 to 1000")
    try:
        recording = read_recording(path)
    except RecordingError as error:
        raise UsageError(f"--traffic: {error}") from error
    one, again, other = (_replay(recording, subject, workers, speed) for subject in (baseline, baseline, candidate))
    return compare_traffic(recording.calls, one, again, other, comparing, recording.damage)


def _replay(recording: Recording, subject: Subject, workers: int, speed: float) -> list[Answer]:
    try:
        pool = subject.make(PoolConfig(name=pool_name("traffic", subject.name), workers=workers), None)
    except PoolError as error:
        raise RunError(f"the replay on {subject.name} could not begin: {error}") from error
    try:
        if Capability.WARM_UP in subject.capabilities:
            pool.warm_up()
        return replay(pool, recording.calls, speed=speed)
    finally:
        pool.close()

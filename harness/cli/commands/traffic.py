"""`poolproof compare --traffic`: recorded calls in place of the scenarios."""

from __future__ import annotations

from pathlib import Path

from poolproof.harness.cli.commands.options import OF_VERDICT
from poolproof.harness.cli.output import say, say_json, warn
from poolproof.harness.subjects.pools import find_pool
from poolproof.harness.traffic.command import compare_recording


def compare_traffic(path: Path, baseline: str, candidate: str, workers: int, speed: float, *, as_json: bool) -> int:
    """Replay a recording on both pools, print what differs, and return the exit code."""
    found = compare_recording(path, find_pool(baseline), find_pool(candidate), workers=workers, speed=speed)
    if as_json:
        say_json(found)
        return OF_VERDICT[found.verdict]
    for kind, texts in (("DIFFERENT", found.differences), ("varies by itself", found.noise)):
        for text in texts:
            say(f"{kind}: {text}")
    if found.damage:
        warn(f"poolproof: {path}: {found.damage}")
    one, other = (f"{late_s * 1e3:.1f} ms" for late_s in found.late_p99_s)
    say(
        f"{found.calls} calls: {found.equal} alike ({found.changed} not as recorded), {found.different} "
        f"different, {found.noisy} vary by themselves; begun late by up to (p99) {one} and {other}"
    )
    say(f"{found.verdict.value.upper()}: {candidate} replacing {baseline}")
    return OF_VERDICT[found.verdict]

"""`poolproof compare --traffic`: recorded calls in place of the scenarios."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from poolproof.harness.cli.commands.options import OF_VERDICT
from poolproof.harness.cli.output import say, say_json, warn
from poolproof.harness.subjects.pools import find_pool
from poolproof.harness.traffic.command import compare_recording
from poolproof.harness.traffic.comparing import read_comparing

MOST_PATHS = 30


def compare_traffic(
    path: Path,
    pools: tuple[str, str],
    workers: int,
    speed: float,
    *,
    comparers: Path | None,
    ignored: Sequence[str],
    as_json: bool,
) -> int:
    """Replay a recording on both pools (baseline, candidate), print what differs, and return the exit code."""
    comparing = read_comparing(comparers, ignored)
    baseline, candidate = map(find_pool, pools)
    found = compare_recording(path, baseline, candidate, workers=workers, speed=speed, comparing=comparing)
    if as_json:
        say_json({**msgspec.to_builtins(found), "verdict": found.verdict})
        return OF_VERDICT[found.verdict]
    for what, texts in (
        ("DIFFERENT", found.differences),
        ("MORE ERRORS", found.more_errors),
        ("unusual", found.unusual),
        ("undecided", found.doubts),
    ):
        for text in texts:
            say(f"{what}: {text}")
    for one in found.paths[:MOST_PATHS]:
        noise = f"noise ({', '.join(one.kinds)})" if one.kinds else "no noise"
        say(
            f"{noise}: {one.command} {one.path} ({one.outcome}): calls that differ: {one.baseline} within {pools[0]}, "
            f"{one.candidate} on {pools[1]}, {one.different} of them beyond the noise"
        )
    if len(found.paths) > MOST_PATHS:
        say(f"{len(found.paths) - MOST_PATHS} further paths; --json has them all")
    for command in found.inconclusive:
        say(f"INCONCLUSIVE: everything varies by itself in the answers of {command}; give comparers for it")
    if found.damage:
        warn(f"poolproof: {path}: {found.damage}")
    one_late, other_late = (f"{late_s * 1e3:.1f} ms" for late_s in found.late_p99_s)
    say(
        f"{found.calls} calls: {found.equal} alike ({found.changed} not as recorded), {found.varied} vary as the "
        f"baseline does, {found.different} different, {found.undecided} undecided; begun late by up to (p99) "
        f"{one_late} and {other_late}"
    )
    say(f"{found.verdict.value.upper()}: {pools[1]} replacing {pools[0]}")
    return OF_VERDICT[found.verdict]

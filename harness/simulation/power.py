"""Measures how many bugs the simulator finds: plants small bugs, one after another, in a copy of the sources.

    python -m poolproof.harness.simulation.power --seconds 20 [NAME ...]

The bugs are in `tests/harness/simulation/mutants.diff` of a checkout: a name and a file, the lines that are replaced,
and the lines that replace them. A condition is negated or shifted, a statement dropped, a limit off by one.
Entry point.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from poolproof.harness.model.errors import HarnessError

SOURCES = Path(__file__).resolve().parents[2]
FOLDERS = ("bridge", "pool_v2", "harness")
MUTANTS = SOURCES / "tests" / "harness" / "simulation" / "mutants.diff"


class Mutation(msgspec.Struct, frozen=True):
    """A text that occurs once in a file, and the text that replaces it."""

    name: str
    file: str
    old: str
    new: str


def read_mutations(path: Path = MUTANTS) -> tuple[Mutation, ...]:
    """Read the bugs from this file."""
    found = []
    for block in path.read_text().split("\n# "):
        head, *lines = block.removeprefix("# ").split("\n")
        name, file = head.split(" ")
        old, new = ("\n".join(line[1:] for line in lines if line.startswith(sign)) for sign in "-+")
        found.append(Mutation(name, file, old, new))
    return tuple(found)


def plant(mutation: Mutation, folder: Path) -> None:
    """Copy the sources into `folder`, with this bug. Raises HarnessError if its place is not there exactly once."""
    for name in FOLDERS:
        shutil.copytree(SOURCES / name, folder / "poolproof" / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(SOURCES / "poolproof" / "__init__.py", folder / "poolproof")
    file = folder / "poolproof" / mutation.file
    text = file.read_text()
    if text.count(mutation.old) != 1:
        raise HarnessError(f"{mutation.name}: its place is {text.count(mutation.old)} times in {mutation.file}")
    text = text.replace(mutation.old, mutation.new)
    compile(text, mutation.file, "exec")
    file.write_text(text)


def simulate_planted(mutation: Mutation, seconds: float | None, seed: int) -> tuple[bool, str]:
    """Simulate with this bug: from `seed` on, or only `seed` (None). Returns whether it was found, and the output."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plant(mutation, folder)
        command = [sys.executable, "-P", "-m", "poolproof.harness.simulation.command", "--no-shrink"]
        command += ["--seed", str(seed), *([] if seconds is None else ["--for", str(seconds)])]
        env = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
        try:
            done = subprocess.run(
                command,
                env=env,
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=3 * (seconds or 0) + 60,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return True, "it does not come to an end"
        return done.returncode != 0, done.stdout + done.stderr[-300:]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a line for each bug, and return how many were not found."""
    parser = argparse.ArgumentParser(prog="power")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args(arguments)
    wanted = [each for each in read_mutations() if not chosen.names or each.name in chosen.names]
    survived = []
    for mutation in wanted:
        found, told = simulate_planted(mutation, chosen.seconds, chosen.seed)
        first = next((line for line in told.splitlines() if line.strip()), "")
        sys.stdout.write(f"{'found   ' if found else 'SURVIVED'} {mutation.name}: {first[:150]}\n")
        sys.stdout.flush()
        if not found:
            survived.append(mutation.name)
    sys.stdout.write(f"{len(wanted) - len(survived)} of {len(wanted)} found; not: {', '.join(survived)}\n")
    return len(survived)


if __name__ == "__main__":
    sys.exit(main())

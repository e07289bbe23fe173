"""The folder in which commands and pytest keep their results by default: out/.

A result's folder there is named by the command and the UTC time: compare-20260131-093005-123. Only folders of such a
name are ever removed, so what a user has named, with `--out`, stays.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec

from poolproof.harness.model.errors import UsageError

DEFAULT_OUT = Path("out")
COMPARISON_FILE = "comparison.json"
STAMPED = re.compile(r"[a-z]+-(?P<time>\d{8}-\d{6})-(?P<rest>[0-9a-f-]+)")


class Kept(msgspec.Struct, frozen=True):
    """One result's folder, and how many bytes its files have."""

    path: Path
    size_bytes: int


def make_folder(folder: Path) -> None:
    """Make the folder of a result, and its parents. A folder out/ that is new is ignored by git. Raises OSError."""
    parent = folder.parent
    new = parent.name == DEFAULT_OUT.name and not parent.exists()
    folder.mkdir(parents=True, exist_ok=True)
    if new:
        (parent / ".gitignore").write_text("*\n")


def find_results(folder: Path) -> list[Kept]:
    """Return the results in this folder, the newest first. Raises UsageError if it is none."""
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}")
    found = [(match, path) for path in folder.iterdir() if (match := STAMPED.fullmatch(path.name)) is not None]
    found = [(match, path) for match, path in found if path.is_dir() and not path.is_symlink()]
    found.sort(key=lambda each: (each[0]["time"], each[0]["rest"]), reverse=True)
    return [Kept(path, sum(_sizes(path))) for _, path in found]


def _sizes(path: Path) -> Iterator[int]:
    for file in path.rglob("*"):
        if file.is_file() and not file.is_symlink():
            yield file.stat().st_size


def runs_in(folder: Path) -> list[Path]:
    """Return the folders of the runs in a comparison's folder, which belong to the comparison that is there."""
    return [info.parent for info in folder.glob("runs/*/run.json")]


def remove(path: Path) -> None:
    """Remove the folder with everything in it. Raises UsageError if that fails."""
    try:
        shutil.rmtree(path)
    except OSError as error:
        raise UsageError(f"cannot remove {error.filename or path}: {error.strerror}") from error

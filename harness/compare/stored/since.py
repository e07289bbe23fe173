"""What changed since the last comparison of the same two pools, which is read before the new runs begin.

The file since.json in a comparison's folder is the difference as it was when the comparison was made, so the report can
be written again after the earlier folder is gone.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from poolproof.harness.compare.comparison import Comparison
from poolproof.harness.compare.stored.diff import Diff, diff
from poolproof.harness.model.errors import RecordError, UsageError
from poolproof.harness.run.retention import COMPARISON_FILE, DEFAULT_OUT, STAMPED
from poolproof.harness.run.store import read_comparison, write_whole

SINCE_FILE = "since.json"
MOST_SEARCHED = 20
"""How many stored comparisons are read, the newest first, until one of the same two pools is found."""


def find_last(folder: Path, baseline: str, candidate: str, named: Path | None = None) -> Comparison | None:
    """Return the last comparison of these two pools, or None; or the one that is `named`.

    It is looked for in `folder`, which the new comparison will overwrite, and if `folder` is in out/, in the other
    results there. A folder that cannot be read is passed over. Raises UsageError or RecordError if the named one cannot
    be read.
    """
    if named is not None:
        if not named.exists():
            raise UsageError(f"there is no {named}")
        return read_comparison(named)
    places = [folder]
    if folder.parent.name == DEFAULT_OUT.name and folder.parent.is_dir():
        stamped = [(name["time"], path) for path in folder.parent.iterdir() if (name := STAMPED.fullmatch(path.name))]
        places += [path for _, path in sorted(stamped, reverse=True)]
    for place in [place for place in places if (place / COMPARISON_FILE).is_file()][:MOST_SEARCHED]:
        try:
            found = read_comparison(place)
        except RecordError:
            continue
        if (found.baseline, found.candidate) == (baseline, candidate):
            return found
    return None


def record_changes(last: Comparison | None, now: Comparison, folder: Path) -> Diff | None:
    """Write what has changed into since.json in `folder`, and return it. Raises UsageError if that fails.

    Without a `last` comparison there is nothing to write, and the since.json of an earlier one is removed.
    """
    found = None if last is None else diff(last, now)
    try:
        if found is None:
            (folder / SINCE_FILE).unlink(missing_ok=True)
        else:
            write_whole(folder / SINCE_FILE, msgspec.json.encode(found))
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror}") from error
    return found

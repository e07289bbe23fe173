"""The command doctor: does all of this work on this machine?"""

from __future__ import annotations

import os

from poolproof.harness.cli.commands.options import Exit
from poolproof.harness.cli.doctor import examine
from poolproof.harness.cli.output import Terminal
from poolproof.harness.cli.tables import show_table
from poolproof.migration.config import load_plan
from poolproof.migration.followers.place import state_path
from poolproof.migration.state import StateFile


def doctor_command() -> int:
    """Test whether pools, runs and reports work on this machine."""
    found = examine((("state of the migration", _migration),))
    rows = [("ok" if point.well else "BAD", point.name, point.found) for point in found]
    show_table(Terminal(), ("", "examined", "found"), rows)
    return Exit.GOOD if all(point.well for point in found) else Exit.BAD


def _migration() -> tuple[bool, str]:
    # Whether this user can change the step, in an emergency for instance.
    plan = load_plan()
    path = state_path(plan)
    if plan.flag:
        return True, f"set by the flag {plan.flag!r}; processes register beside {path}"
    if path is None or (plan.state_file is None and not path.parent.is_dir()):
        return True, f"{path}: not begun, and nobody follows it"
    file = StateFile(path)
    entry = file.read()
    if entry is not None and entry.trouble:
        return False, entry.trouble
    needed = [(file.path.parent, os.W_OK), (file.lock_path, os.R_OK), (file.log_path, os.R_OK | os.W_OK)]
    refused = [str(one) for one, mode in needed if os.path.lexists(one) and not os.access(one, mode)]
    if refused or not file.path.parent.is_dir():
        return False, f"{path} cannot be changed by this user: no access to {', '.join(refused) or file.path.parent}"
    return True, f"{path}: {'not begun' if entry is None else entry.position}"

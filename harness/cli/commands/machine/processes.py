"""Commands about this machine and its processes: ps, reap, doctor, worker."""

from __future__ import annotations

import os

import typer

from poolproof.bridge.processes.rundir.orphans import list_pools, reap_orphans
from poolproof.bridge.worker.program import main as worker_main
from poolproof.harness.cli.commands.options import AsJson, Exit
from poolproof.harness.cli.doctor import examine
from poolproof.harness.cli.output import Terminal, say, say_json
from poolproof.harness.cli.terminal import show_table
from poolproof.migration.config import load_plan
from poolproof.migration.followers.place import state_path
from poolproof.migration.state import StateFile


def ps_command(as_json: AsJson = False) -> int:
    """List this user's pools on this machine, including pools whose owner process has died."""
    records = list_pools()
    if as_json:
        say_json(records)
        return Exit.GOOD
    rows = [
        (
            record.name,
            record.version,
            str(record.owner_pid),
            "alive" if record.owner_alive else "gone",
            record.created_at,
            " ".join(map(str, record.worker_pids)) or "-",
        )
        for record in records
    ]
    show_table(Terminal(), ("pool", "version", "owner", "owner is", "since", "workers"), rows)
    return Exit.GOOD


def reap_command() -> int:
    """End the workers of pools whose owner process has died, and remove those pools' files.

    No other process is touched.
    """
    reaped = reap_orphans()
    for record in reaped:
        killed = " ".join(map(str, record.killed)) or "none was alive"
        say(f"{record.name}: the owner process {record.owner_pid} has died; workers ended: {killed}")
    if not reaped:
        say("nothing to do: every pool's owner is alive")
    return Exit.GOOD


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


def worker_command(context: typer.Context) -> int:
    """Run as a worker process that reads requests on stdin and writes responses on stdout.

    Pools start this command themselves. Options: --worker-id N --mode NAME.
    """
    return worker_main(context.args)

"""Commands about the processes of this machine: ps, reap, worker."""

from __future__ import annotations

import typer

from poolproof.bridge.processes.rundir.orphans import list_pools, reap_orphans
from poolproof.bridge.worker.program import main as worker_main
from poolproof.harness.cli.commands.options import AsJson, Exit
from poolproof.harness.cli.output import Terminal, say, say_json
from poolproof.harness.cli.tables import show_table


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


def worker_command(context: typer.Context) -> int:
    """Run as a worker process that reads requests on stdin and writes responses on stdout.

    Pools start this command themselves. Options: --worker-id N --mode NAME.
    """
    return worker_main(context.args)

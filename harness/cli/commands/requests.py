"""The request for runs, from the options of a command."""

from __future__ import annotations

from collections.abc import Sequence

from poolproof.harness.cli.commands.options import FULL_SCALE, Profile
from poolproof.harness.model.errors import UsageError
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.workload import Size
from poolproof.harness.run.request import Request
from poolproof.harness.subjects.probe import examine_worker


def build_request(
    scenarios: Sequence[Scenario],
    seed: int,
    workers: int,
    clients: int,
    jobs: int,
    profile: Profile,
    worker_command: str | None,
) -> Request:
    """The request for these scenarios. Raises UsageError that names a bad option, its value and its limits."""
    for option, value, least, most in (
        ("--seed", seed, 0, 2**32 - 1),
        ("--workers", workers, 1, 1024),
        ("--clients", clients, 1, 1024),
        ("--jobs", jobs, 1, 64),
    ):
        if not least <= value <= most:
            raise UsageError(f"{option} {value}: must be a whole number from {least} to {most}")
    known, journals = None, True
    if worker_command is not None:
        wanted = sorted({command for scenario in scenarios for command in scenario.commands})
        known, journals = examine_worker(worker_command, wanted)
    scale = FULL_SCALE if profile is Profile.FULL else 1.0
    size = Size(workers=workers, clients=clients, scale=scale)
    return Request(
        seed=seed,
        size=size,
        profile=profile,
        worker_command=worker_command,
        known_commands=known,
        journals=journals,
    )

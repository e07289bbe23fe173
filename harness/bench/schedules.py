"""The schedules of benches: how many rounds and seconds, fixed before the first block.

Pure. The quick profile finds a difference of 20 % in at most 20 s, the full profile 10 % in at most 90 s;
docs/explanation/measuring.md has the counts. `COMPARING` has the schedules of `poolproof compare` for each timed
scenario.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from poolproof.harness.bench.statistics.figures import Schedule
from poolproof.harness.model.errors import UsageError

MARGIN = 0.05

SMOKE = Schedule(profile="smoke", rounds=10, block_s=0.1, warm_s=0.1, margin=MARGIN)
QUICK = Schedule(profile="quick", rounds=20, block_s=0.2, warm_s=0.3, margin=MARGIN)
FULL = Schedule(profile="full", rounds=44, block_s=0.45, warm_s=0.5, margin=MARGIN)
PROFILES = {"smoke": SMOKE, "quick": QUICK, "full": FULL}
COMPARING = {
    "smoke": Schedule(profile="smoke", rounds=12, block_s=0.05, warm_s=0.05, margin=MARGIN, limit_s=8.0),
    "quick": Schedule(profile="quick", rounds=20, block_s=0.05, warm_s=0.05, margin=MARGIN, limit_s=22.0),
    "full": Schedule(profile="full", rounds=60, block_s=0.2, warm_s=0.2, margin=MARGIN, limit_s=120.0),
}
MOST_ROUNDS = 10_000


def make_schedule(
    profile: str,
    *,
    rounds: int | None = None,
    block_s: float | None = None,
    margin: float | None = None,
    until_width: float | None = None,
    labels: Mapping[str, str] = MappingProxyType({}),
) -> Schedule:
    """The profile's schedule, with the given values replaced. Raises UsageError that names the limit of a bad value.

    `labels` has names of parameters for error messages, such as the option's name.
    """
    if profile not in PROFILES:
        raise UsageError(f"profile {profile!r}: must be one of {', '.join(PROFILES)}")
    found = PROFILES[profile]
    for name, value, least, most in (
        ("rounds", rounds, 1, MOST_ROUNDS),
        ("block_s", block_s, 0.01, 600.0),
        ("margin", margin, 0.001, 1.0),
        ("until_width", until_width, 0.001, 1.0),
    ):
        if value is not None:
            if not least <= value <= most:
                hint = "; 5 % is 0.05" if name == "margin" else ""
                raise UsageError(
                    f"{labels.get(name, name)} {value:g}: must be a number from {least:g} to {most:g}{hint}"
                )
            found = msgspec.structs.replace(found, **{name: value})
    return found

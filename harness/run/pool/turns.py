"""Makes one call after another on a pool that has nothing else to do, to see which worker serves each of them."""

from __future__ import annotations

import msgspec

from poolproof.harness.model.workload import Step
from poolproof.harness.oracle.turns import TURN_LABEL, TURN_SESSION
from poolproof.harness.run.pool.probers import Probers

PAUSE_S = 0.0005
"""A pause before each call, so that no face sends two of them together."""


def ask_in_turn(probers: Probers, workers: int, *, in_sessions: bool) -> None:
    """Make calls outside sessions, one call in each of several new sessions, and calls of one session in between."""
    plain = Step(command="pid", label=TURN_LABEL, pause_s=PAUSE_S)
    steps = [plain] * (2 * workers)
    if in_sessions:
        of_one = msgspec.structs.replace(plain, session=TURN_SESSION)
        steps += [msgspec.structs.replace(plain, session=f"{TURN_SESSION}-{number}") for number in range(2 * workers)]
        steps += [of_one, plain] * (workers + 1)
    client = probers.client(*steps)
    client.start()
    client.join()  # each of its calls has a limit

"""Makes one call after another on a pool that has nothing else to do, to see which worker serves each of them."""

from __future__ import annotations

from poolproof.harness.model.workload import Step
from poolproof.harness.oracle.turns import TURN_LABEL, TURN_SESSION
from poolproof.harness.run.pool.probers import Probers


def ask_in_turn(probers: Probers, workers: int, *, in_sessions: bool) -> None:
    """Make calls outside sessions, one call in each of several new sessions, and calls of one session in between."""
    plain = Step(command="pid", label=TURN_LABEL)
    steps = [plain] * (2 * workers)
    if in_sessions:
        one = Step(command="pid", label=TURN_LABEL, session=TURN_SESSION)
        steps += [
            Step(command="pid", label=TURN_LABEL, session=f"{TURN_SESSION}-{number}") for number in range(2 * workers)
        ]
        steps += [one, plain] * (workers + 1)
    client = probers.client(*steps)
    client.start()
    client.join()  # each of its calls has a limit

"""Decides the pool of each call outside sessions, and reports how the call ended. All faces of a migration use it.

Independent of pools, of threads and of event loops: a face takes a turn, runs the call on the turn's side, and ends the
turn with the outcome.
"""

from __future__ import annotations

import threading
from random import Random

from poolproof.bridge.clock import now_ns
from poolproof.migration.control import Control, Step
from poolproof.migration.plan import Mode, Side
from poolproof.migration.router import route_call
from poolproof.migration.shadowing.metrics import GuardrailMetrics
from poolproof.migration.spread import Spread


class Turn:
    """One call on one side. Ends once; a turn that was never ended counts as running."""

    __slots__ = ("_ended", "_metrics", "_start_ns", "side", "step")

    def __init__(self, metrics: GuardrailMetrics, step: Step, side: Side) -> None:
        self._metrics = metrics
        self.step = step
        self.side = side
        self._ended = False
        self._start_ns = now_ns()
        if side is Side.V2:
            metrics.began(step.epoch, self, self._start_ns)

    def end(self, outcome: str) -> None:
        """Report the outcome, one of poolproof.bridge.OUTCOMES or the name of another exception."""
        if self._ended:
            return
        self._ended = True
        step, metrics = self.step, self._metrics
        if not step.plain:
            metrics.ended(step.epoch, self.side, self, self._start_ns, outcome)
        metrics.count(step.epoch, self.side, outcome)

    def drop(self) -> None:
        """End the turn without a report, because no call was made."""
        if not self._ended:
            self._ended = True
            self._metrics.dropped(self)


class Turns:
    """Hands out the turns of one process. Every method may be called from any thread."""

    def __init__(self, control: Control, metrics: GuardrailMetrics) -> None:
        self._control = control
        self._metrics = metrics
        self._spread = Spread(Random())
        self._dealing = threading.Lock()

    def side(self, step: Step, command: str) -> Side:
        """Return the pool of the next call of `command` at this step."""
        if step.position.mode is not Mode.CANARY:
            return route_call(step.position, 0)
        with self._dealing:
            rank = self._spread.rank(command)
        return route_call(step.position, rank)

    def take(self, command: str) -> Turn:
        """Begin the next call of `command`."""
        step = self._control.step
        return Turn(self._metrics, step, self.side(step, command))

    def on(self, side: Side) -> Turn:
        """Begin a call whose side is decided already, such as one on a lease."""
        return Turn(self._metrics, self._control.step, side)

    def fall_back(self, turn: Turn) -> Turn:
        """Begin the same call on v1, which v2 has refused unsent. It is counted, not measured."""
        step = turn.step
        return Turn(self._metrics, Step(step.position, step.epoch, True), Side.V1)

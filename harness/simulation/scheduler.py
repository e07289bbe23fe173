"""A virtual clock and a seeded scheduler: which of the possible steps comes next is drawn from the seed.

One thread runs everything. A step is a function that returns soon; code that must wait registers a step for later.
Steps that may happen at the same virtual time are in `_ready` and happen in a random order; if there is none, the clock
jumps to the next timer. The same seed draws the same order.

Preemption: another step may be made in the middle of a step, at a lock (`preempt`), as if the operating system had
switched threads there. Time does not pass meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from random import Random
from typing import Any

from poolproof.bridge.clock import Clock

BEGIN_NS = 10**12
"""The virtual time at which a simulation begins. It is not 0, because the pool uses 0 for "never"."""
MOST_NESTED = 3
"""How many steps may be in progress at the same time, each in the middle of the other."""
Step = Callable[..., Any]


class Stuck(Exception):
    """A wait can never end, because nothing is left that could happen."""


class VirtualClock(Clock):
    """A clock that only the scheduler moves."""

    def __init__(self) -> None:
        self.at_ns = BEGIN_NS
        self.on_sleep: Callable[[float], None] = lambda _: None
        self.now_ns = lambda: self.at_ns
        self.sleep = lambda timeout_s: self.on_sleep(float(timeout_s))


class Scheduler:
    """The steps of one simulation. At one of every `preempt_every` locks another step comes first (0: never)."""

    def __init__(self, seed: int, *, preempt_every: int = 0) -> None:
        self.random = Random(seed).random
        self.clock = VirtualClock()
        self.steps = 0
        self._timers: list[tuple[int, int, Step, Any]] = []
        self._ready: list[tuple[Step, Any]] = []
        self._last: list[tuple[Step, Any]] = []
        self._count = 0
        self.nested = 0
        self._every = preempt_every
        self._until_next = self._draw()
        self.on_quiet: Callable[[], None] = lambda: None

    def soon(self, step: Step, argument: object) -> None:
        """Allow this step to happen from now on."""
        self._ready.append((step, argument))

    def last(self, step: Step, argument: object) -> None:
        """Let this step happen as soon as no other step can happen."""
        self._last.append((step, argument))

    def at(self, at_ns: int, step: Step, argument: object) -> None:
        """Allow this step to happen from this virtual time on."""
        self._count += 1
        heappush(self._timers, (at_ns, self._count, step, argument))

    def run(self, done: Callable[[], bool], until_ns: int = 2**62) -> bool:
        """Carry out steps until `done` holds. Returns False at `until_ns`. Raises Stuck if no step is possible."""
        clock, ready, random = self.clock, self._ready, self.random
        while not done():
            if ready:
                self.steps += 1
                chosen = int(random() * len(ready))
                step, argument = ready[chosen]
                ready[chosen] = ready[-1]
                ready.pop()
                step(argument)
            elif self._last:
                step, argument = self._last.pop()
                step(argument)
            elif not self._advance(until_ns):
                clock.at_ns = max(clock.at_ns, until_ns)
                return done()
        return True

    def _advance(self, until_ns: int) -> bool:
        # Moves the clock to the next timers and makes their steps possible. Returns False if that is after `until_ns`.
        timers = self._timers
        if not timers:
            if until_ns >= 2**62:
                raise Stuck("nothing can happen any more")
            return False
        at_ns = timers[0][0]
        if at_ns > until_ns:
            return False
        if at_ns > self.clock.at_ns:
            self.on_quiet()
            if self._ready or self._last:
                return True
            self.clock.at_ns = at_ns
        while timers and timers[0][0] <= at_ns:
            _, _, step, argument = heappop(timers)
            self._ready.append((step, argument))
        return True

    def preempt(self) -> None:
        """Perhaps carry out another step first, drawn from the seed. Called where a thread could lose the processor."""
        self._until_next -= 1
        if self._until_next:
            return
        self._until_next = self._draw()
        if self._ready and self.nested < MOST_NESTED:
            self.nested += 1
            self.steps += 1
            step, argument = self._ready.pop(int(self.random() * len(self._ready)))
            try:
                step(argument)
            finally:
                self.nested -= 1

    def _draw(self) -> int:
        return 1 + int(self.random() * 2 * self._every) if self._every else -1

"""Makes the calls of one block: clients that call as fast as they can, or arrivals at intended times.

In an open loop any free client takes the next arrival, waits for its time and calls; if none is free the arrival is
taken late, and its response still counts from the intended begin. Lag is only what the generator itself adds: how late
a client began that had been free in time.
"""

from __future__ import annotations

import gc
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from bridge import Event, EventKind, Pool, PoolError
from bridge.clock import now_ns
from harness.errors import RunError
from harness.lab.analysis import Block
from harness.lab.histogram import tally
from harness.workload import Step

JOIN_TIMEOUT_S = 90.0
LEAD_S = 0.005
"""An open loop begins so long after its clients."""


class Watch:
    """The observer of one pool: when each call got its worker, was sent and was answered. Thread-safe by the GIL."""

    def __init__(self) -> None:
        self._here = threading.local()
        self._calls: dict[int, list[int]] = {}

    def begin(self) -> list[int]:
        """A call begins in this thread: a list that fills with [checked out, sent, received] in nanoseconds."""
        times = [0, 0, 0]
        self._here.times = times
        return times

    def observe(self, event: Event) -> None:
        """The pool's observer."""
        if event.call is None:
            return
        kind = event.kind
        if kind is EventKind.ENQUEUE:
            times = getattr(self._here, "times", None)
            if times is not None:
                self._calls[event.call] = times
        elif kind is EventKind.DONE:
            self._calls.pop(event.call, None)
        else:
            place = _PLACES.get(kind)
            times = self._calls.get(event.call) if place is not None else None
            if times is not None and place is not None:
                times[place] = event.at_ns


_PLACES = {EventKind.ACCEPT: 0, EventKind.SEND: 1, EventKind.RECEIVE: 2}


class _Notes:
    """What one client noted, in nanoseconds."""

    def __init__(self) -> None:
        self.response: list[int] = []
        self.service: list[int] = []
        self.wait: list[int] = []
        self.lag: list[int] = []
        self.errors: Counter[str] = Counter()
        self.dropped = self.late = 0
        self.last_ns = 0
        self.broke: BaseException | None = None


def run_block(
    pool: Pool,
    plan: Sequence[Sequence[Step]],
    *,
    arm: str,
    seconds: float,
    arrivals: Sequence[float] | None = None,
    watch: Watch | None = None,
) -> Block:
    """One thread for each client of the plan, which repeats its steps; all calls that begin within `seconds` count.

    With `arrivals` (seconds from the begin) calls are made then, and those that have not begun `seconds` after the
    block's end are dropped. A call that fails is counted by its error. Raises RunError if a client is stuck or breaks.
    """
    start = threading.Barrier(len(plan) + 1)
    notes = [_Notes() for _ in plan]
    moments = [0, 0]  # begin and end, set before the start
    line = _Line(arrivals) if arrivals is not None else None

    def work(number: int) -> None:
        mine = notes[number]
        try:
            steps = itertools.cycle(plan[number])
            start.wait()
            begin, end = moments
            call = _caller(pool, mine, watch)
            if line is None:
                while (now := now_ns()) < end:
                    step = next(steps)
                    if step.pause_s:
                        time.sleep(step.pause_s)
                        now = now_ns()
                    call(step, now)
            else:
                _serve(line, begin, end + (end - begin), steps, call, mine)
        except BaseException as error:
            mine.broke = error

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(len(plan))]
    gc.collect(1)
    gc.disable()  # a collection in one block and not in the other is no difference of the pools
    try:
        for thread in threads:
            thread.start()
        begin = now_ns() + (0 if line is None else round(LEAD_S * 1e9))
        moments[:] = begin, begin + round(seconds * 1e9)
        start.wait()
        deadline = time.monotonic() + seconds * 2 + JOIN_TIMEOUT_S
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                raise RunError(f"a client of the {arm} was stuck {JOIN_TIMEOUT_S:.0f} s after its block")
    finally:
        gc.enable()
    for mine in notes:
        if mine.broke is not None:
            raise RunError(f"a client of the {arm} broke: {type(mine.broke).__name__}: {mine.broke}") from mine.broke
    return _sum_up(arm, notes, begin)


class _Line:
    """The arrivals, of which each free client takes the next."""

    def __init__(self, arrivals: Sequence[float]) -> None:
        self._times = arrivals
        self._next = itertools.count()  # atomic under the GIL

    def take(self) -> float | None:
        """The intended begin of the next arrival; None if all are taken."""
        number = next(self._next)
        return self._times[number] if number < len(self._times) else None


def _serve(
    line: _Line,
    begin: int,
    last: int,
    steps: Iterator[Step],
    call: Callable[[Step, int], None],
    mine: _Notes,
) -> None:
    while (at_s := line.take()) is not None:
        intended = begin + round(at_s * 1e9)
        now = now_ns()
        if now > last:
            mine.dropped += 1
            continue
        if now < intended:
            time.sleep((intended - now) / 1e9)
            mine.lag.append(max(now_ns() - intended, 0))
        else:
            mine.late += 1
        call(next(steps), intended)


def _caller(pool: Pool, mine: _Notes, watch: Watch | None) -> Callable[[Step, int], None]:
    execute = pool.execute

    def call(step: Step, intended: int) -> None:
        invoked = now_ns()
        times = watch.begin() if watch is not None else None
        try:
            execute(
                step.command,
                step.args,
                session=step.session,
                timeout_s=step.timeout_s,
                checkout_timeout_s=step.checkout_timeout_s,
            )
        except PoolError as error:
            mine.errors[type(error).__name__] += 1
            mine.last_ns = now_ns()
            return
        done = mine.last_ns = now_ns()
        mine.response.append(done - intended)
        if times is not None and times[2]:
            mine.service.append(times[2] - times[1])
            mine.wait.append(max(times[0] - invoked, 0))

    return call


def _sum_up(arm: str, notes: Sequence[_Notes], begin: int) -> Block:
    response = sorted(itertools.chain.from_iterable(mine.response for mine in notes))
    lag = sorted(itertools.chain.from_iterable(mine.lag for mine in notes))
    errors: Counter[str] = Counter()
    for mine in notes:
        errors.update(mine.errors)
    half = len(response) // 2
    middle = None if not response else (response[half] + response[(len(response) - 1) // 2]) / 2e9
    return Block(
        arm=arm,
        seconds=max((max(mine.last_ns for mine in notes) - begin) / 1e9, 1e-9),
        calls=len(response),
        response=tally(response),
        service=tally(itertools.chain.from_iterable(mine.service for mine in notes)),
        wait=tally(itertools.chain.from_iterable(mine.wait for mine in notes)),
        p10_s=response[len(response) // 10] / 1e9 if response else None,
        p50_s=middle,
        errors=dict(errors),
        dropped=sum(mine.dropped for mine in notes),
        late=sum(mine.late for mine in notes),
        lag_p50_s=lag[len(lag) // 2] / 1e9 if lag else 0.0,
        lag_p99_s=lag[int(0.99 * (len(lag) - 1))] / 1e9 if lag else 0.0,
    )

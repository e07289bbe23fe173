"""Makes the calls of one block: clients that call without a pause, or arrivals at intended times.

In an open loop any free client takes the next arrival, waits for its time and calls. If no client is free, the arrival
is taken late, and its response time still counts from the intended begin. Lag is only the delay that the generator
itself adds: how late a call began although its client was free in time.
Every answer is checked: at once by one comparison; answers that fail it are judged after the bench (answers.py).
"""

from __future__ import annotations

import gc
import itertools
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextvars import copy_context
from typing import Any

from poolproof.bridge import PoolError
from poolproof.bridge.clock import now_ns
from poolproof.bridge.events import CORRELATION
from poolproof.harness.bench.block import Block
from poolproof.harness.bench.statistics.histogram import tally
from poolproof.harness.bench.watch import Watch
from poolproof.harness.bench.workloads.answers import Answer, Asked
from poolproof.harness.model.errors import RunError
from poolproof.harness.model.workload import Plan, Step

JOIN_TIMEOUT_S = 90.0
LEAD_S = 0.005
"""The arrivals of an open loop begin this many seconds after the clients have started."""
MOST_DOUBTFUL = 100
"""How many doubtful answers are kept at most, for each command, client and block."""
NONCES = 2**40
"""Client number n uses the nonces from n × 2⁴⁰ on."""
Execute = Callable[..., Any]
"""`execute(command, args, **options)` of a pool, or of a replacement. Any thread may call it."""


class Client:
    """One client of one pool. It repeats its steps in order, and continues from block to block.

    Times are nanoseconds. The public attributes describe the current block, or the last one.
    """

    def __init__(self, execute: Execute, steps: Sequence[Step], number: int, watch: Watch | None = None) -> None:
        self._execute = execute
        self._steps = itertools.cycle([Asked(step) for step in steps])
        self._nonces = itertools.count(number * NONCES)
        self._watch = watch
        self.clear()

    def clear(self) -> None:
        """Reset the records at the begin of a block."""
        self.response: list[int] = []
        self.ends: list[int] = []
        self.begins: dict[int, int] = {}
        self.lag: list[int] = []
        self.errors: list[tuple[int, str]] = []
        self.failure = ""
        self.right: set[str] = set()
        self.doubtful: list[Answer] = []
        self._seen: Counter[str] = Counter()
        self.dropped = self.late = 0
        self.last_ns = 0
        self.broke: BaseException | None = None

    def call_until(self, end: int) -> None:
        """Call without a pause until `end`, at least once; no call but the first begins at `end` or later."""
        now = now_ns()
        while True:
            asked = next(self._steps)
            if asked.pause_s:
                time.sleep(asked.pause_s)
                now = now_ns()
            self._call(asked, now)
            now = now_ns()
            if now >= end:
                return

    def serve(self, line: Line, begin: int, last: int) -> None:
        """Serve arrivals, whose times count from `begin`, until none is left; no call begins after `last`."""
        while (at_s := line.take()) is not None:
            intended = begin + round(at_s * 1e9)
            now = now_ns()
            if now > last:
                self.dropped += 1
                continue
            if now < intended:
                time.sleep((intended - now) / 1e9)
                self.lag.append(max(now_ns() - intended, 0))
            else:
                self.late += 1
            self._call(next(self._steps), intended)

    def _call(self, asked: Asked, intended: int) -> None:
        nonce = next(self._nonces)
        args, expected = asked.request(nonce)
        if self._watch is not None:
            CORRELATION.set(nonce)
            self._watch.begin(nonce)
            self.begins[nonce] = now_ns()
        try:
            value = self._execute(asked.command, args, **asked.options)
        except PoolError as error:
            self.last_ns = now_ns()
            if not self.errors:
                self.failure = f"the request {asked.command} {args!r:.120} raised {type(error).__name__}: {error}"
            self.errors.append((self.last_ns, type(error).__name__))
            return
        done = self.last_ns = now_ns()
        self.response.append(done - intended)
        self.ends.append(done)
        if (value == expected) if expected is not None else (type(value) is dict and value.get("nonce") == nonce):
            self.right.add(asked.command)
        elif asked.checked and self._seen[asked.command] < MOST_DOUBTFUL:
            self._seen[asked.command] += 1
            self.doubtful.append(Answer(asked.command, args, nonce, value, expected))


class Line:
    """The queue of arrivals; each free client takes the next."""

    def __init__(self, arrivals: Sequence[float]) -> None:
        self._times = arrivals
        self._next = itertools.count()  # atomic under the GIL

    def take(self) -> float | None:
        """The intended begin of the next arrival; None if all are taken."""
        number = next(self._next)
        return self._times[number] if number < len(self._times) else None


def make_clients(execute: Execute, plan: Plan, watch: Watch | None = None) -> tuple[Client, ...]:
    """A client for each of the plan's lists of steps."""
    return tuple(Client(execute, steps, number, watch) for number, steps in enumerate(plan))


def run_block(
    clients: Sequence[Client],
    *,
    arm: str,
    seconds: float,
    arrivals: Sequence[float] | None = None,
    lead_s: float | None = None,
    cpus: frozenset[int] = frozenset(),
    here: bool = False,
    cut: Callable[[], None] | None = None,
) -> Block:
    """Run one block: one thread for each client. Calls that begin within `seconds` count, and the block ends with them.

    The first call of each client counts even if it begins later, as may happen on a busy machine. With `arrivals`
    (seconds from the begin of the block) calls begin at these times; an arrival that has not begun `seconds` after the
    block's end is dropped. With `lead_s` a call counts if it ends in the `seconds` after the first `lead_s` seconds,
    whenever it began; then `cut` ends the calls that still run. Failed calls are counted by error. The clients run on
    the processors `cpus`, or on any processor if `cpus` is empty. With `here` a single client runs in the calling
    thread. Raises RunError if a client is stuck or breaks.
    """
    here = here and len(clients) == 1
    start = threading.Barrier(1 if here else len(clients) + 1)
    moments = [0, 0]  # begin and end, set before the start
    line = Line(arrivals) if arrivals is not None else None

    def work(client: Client) -> None:
        try:
            if cpus:
                os.sched_setaffinity(0, cpus)  # of this thread only
            start.wait()
            begin, end = moments
            if line is None:
                client.call_until(end)
            else:
                client.serve(line, begin, end + (end - begin))
        except BaseException as error:
            client.broke = error

    for client in clients:
        client.clear()
    gc.collect(1)
    gc.disable()  # a collection in one block only would look like a difference of the pools
    try:
        threads = [threading.Thread(target=work, args=(client,), daemon=True) for client in clients[here:]]
        for thread in threads:
            thread.start()
        begin = now_ns() + round(1e9 * (LEAD_S if line is not None else lead_s or 0.0))
        moments[:] = begin, begin + round(seconds * 1e9)
        if here:
            copy_context().run(work, clients[0])
        else:
            start.wait()
        if cut is not None:
            time.sleep(max(moments[1] - now_ns(), 0) / 1e9)
            cut()
        deadline = time.monotonic() + (lead_s or 0.0) + seconds * 2 + JOIN_TIMEOUT_S
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                raise RunError(f"a client of the {arm} was stuck {JOIN_TIMEOUT_S:.0f} s after its block")
    finally:
        gc.enable()
    for client in clients:
        if client.broke is not None:
            error = client.broke
            raise RunError(f"a client of the {arm} failed: {type(error).__name__}: {error}") from error
    return _sum_up(arm, clients, begin, None if lead_s is None else moments[1])


def _sum_up(arm: str, clients: Sequence[Client], begin: int, end: int | None) -> Block:
    served = [
        client.response
        if end is None
        else [took for took, at in zip(client.response, client.ends, strict=True) if begin <= at < end]
        for client in clients
    ]
    response = sorted(itertools.chain.from_iterable(served))
    lag = sorted(itertools.chain.from_iterable(client.lag for client in clients))
    failed = [client for client in clients if client.errors and (end is None or client.errors[0][0] < end)]
    errors = Counter(name for client in failed for at, name in client.errors if end is None or at < end)
    half = len(response) // 2
    middle = None if not response else (response[half] + response[(len(response) - 1) // 2]) / 2e9
    last = max(client.last_ns for client in clients) if end is None else end
    return Block(
        arm=arm,
        seconds=max((last - begin) / 1e9, 1e-9),
        calls=len(response),
        response=tally(response),
        p10_s=response[len(response) // 10] / 1e9 if response else None,
        p50_s=middle,
        errors=dict(errors),
        failure=failed[0].failure if failed else "",
        right=frozenset(itertools.chain.from_iterable(client.right for client in clients)),
        doubtful=tuple(itertools.chain.from_iterable(client.doubtful for client in clients)),
        fairness=min(map(len, served)) / max(1, *map(len, served)),
        dropped=sum(client.dropped for client in clients),
        late=sum(client.late for client in clients),
        lag_p50_s=lag[len(lag) // 2] / 1e9 if lag else 0.0,
        lag_p99_s=lag[int(0.99 * (len(lag) - 1))] / 1e9 if lag else 0.0,
    )

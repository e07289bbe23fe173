"""Uses one pool for very long, and looks at what this process holds for it meanwhile: it must not grow.

    python -m benchmarks.soak                        1,000,000 calls, 10,000 replacements, 1,000,000 sessions
    python -m benchmarks.soak --calls 100000 --replacements 0 --sessions 0

Each part has a pool of its own and STRETCHES equal stretches. After each it prints one line of JSON: what was done so
far, the seconds it took, and what the process holds. A part has grown if, from the end of the second stretch to the
end, memory has grown by more than MOST_BYTES for each thing done, or anything else by more than SLACK. The first
stretches fill caches. Exit status 1 if a part has grown.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence

import msgspec

from benchmarks.resources import MIB, Held, held_for
from poolproof.bridge import PoolConfig
from poolproof.pool_v2 import PoolV2

STRETCHES = 10
CLIENTS = 4
SETTLE_S = 20.0
MOST_BYTES = 10.0
"""How many bytes more for each call, replacement or session; an entry in any table takes ten times as much."""
MOST_NOISE_MIB = 4.0
"""What an allocator may keep, whatever is done."""
SLACK = 4
"""How many descriptors, threads, children or files more are still the same: of a worker that is being replaced."""


class Part(msgspec.Struct, frozen=True):
    """A part: its pool's options, and what one client does for one thing, which has a number."""

    name: str
    options: dict[str, object]
    step: Callable[[PoolV2, int], object]


def one_call(pool: PoolV2, number: int) -> None:
    """Make a plain call."""
    if pool.execute("echo", {"n": number}) != {"n": number}:
        raise AssertionError(f"call {number} got another answer")


def one_session(pool: PoolV2, number: int) -> None:
    """Begin a session with some state, and end it."""
    name = f"session-{number}"
    pool.execute_in_session(name, "put", {"key": "k", "value": number})
    pool.end_session(name)


PARTS = (
    Part("calls", {}, one_call),
    Part("replacements", {"max_requests": 1, "zygote": True}, one_call),
    Part("sessions", {}, one_session),
)


def soak(part: Part, count: int, tell: Callable[[str], object]) -> bool:
    """Carry out a part `count` times. Returns whether it has not grown."""
    looks: list[Held] = []
    began_s = time.monotonic()
    with PoolV2(PoolConfig.from_options({"workers": CLIENTS, "checkout_timeout_s": 60.0, **part.options})) as pool:
        pool.warm_up()
        for stretch in range(STRETCHES):
            first, end = count * stretch // STRETCHES, count * (stretch + 1) // STRETCHES
            _run(part, pool, first, end)
            looks.append(_settled(pool))
            line = {"part": part.name, "done": end, "seconds": round(time.monotonic() - began_s, 1)}
            load = round(os.getloadavg()[0], 1)
            tell(msgspec.json.encode({**line, "load": load, **msgspec.structs.asdict(looks[-1])}).decode())
        if pool.status().sessions:
            tell(f"{part.name}: {pool.status().sessions} sessions are left")
            return False
    grown = growth(looks[1], looks[-1], count * (STRETCHES - 2) // STRETCHES)
    tell(f"{part.name}: {', '.join(grown) or 'flat'}")
    return not grown


def growth(before: Held, after: Held, count: int) -> list[str]:
    """Say what has grown while `count` things were done."""
    grown = []
    more_mib = after.rss_mib - before.rss_mib
    if more_mib > MOST_NOISE_MIB and more_mib * MIB > MOST_BYTES * count:
        grown.append(f"memory has grown by {more_mib:.1f} MiB")
    for name in ("descriptors", "threads", "children", "zombies", "files"):
        more = getattr(after, name) - getattr(before, name)
        if more > SLACK:
            grown.append(f"{more} {name} more")
    return grown


def _run(part: Part, pool: PoolV2, first: int, end: int) -> None:
    failures: list[BaseException] = []

    def use(offset: int) -> None:
        try:
            for number in range(first + offset, end, CLIENTS):
                part.step(pool, number)
        except BaseException as error:
            failures.append(error)

    clients = [threading.Thread(target=use, args=(offset,)) for offset in range(CLIENTS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    if failures:
        raise failures[0]


def _settled(pool: PoolV2) -> Held:
    # The workers that are being replaced now are there again, and those before them are reaped.
    end_s = time.monotonic() + SETTLE_S
    pool.warm_up()
    while (held := held_for(pool)).zombies and time.monotonic() < end_s:
        time.sleep(0.05)
    return held


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out the parts. Returns 0 if nothing has grown, otherwise 1."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=1_000_000, help="(%(default)s)")
    parser.add_argument("--replacements", type=int, default=10_000, help="of workers (%(default)s)")
    parser.add_argument("--sessions", type=int, default=1_000_000, help="begun and ended (%(default)s)")
    options = parser.parse_args(argv)

    def tell(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    flat = [soak(part, getattr(options, part.name), tell) for part in PARTS if getattr(options, part.name)]
    return 0 if all(flat) else 1


if __name__ == "__main__":
    sys.exit(main())

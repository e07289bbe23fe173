"""From a seed to a plan: the pool's options, the clients' operations and the faults of one simulation.

Pure. Swarm testing (Groce and others 2012): each plan draws which features it has at all, so that some plans use a few
features often and the others never. All durations are whole milliseconds, so that many things happen at the same time.

A plan can be reduced: `keep` makes a plan with only some of the operations, starts and deaths.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from random import Random
from typing import Any

import msgspec

MS = 1_000_000
KEYS = 3
"""The number of keys in a session's state."""
ITEMS = 64
"""The most calls of one operation; the nonce of a call is its operation's index times ITEMS, plus its place."""
IN_SESSION = ("put", "append", "get", "end", "batch_put", "bad_put", "stream", "sleep")
WORKER_FAULTS = (
    "die_at_once",
    "die_while",
    "die_after",
    "die_partial",
    "die_answered",
    "garbage",
    "wrong_id",
    "part",
    "oversize",
    "twice",
    "hang",
    "split",
    "trickle",
    "deaf",
)
START_FAULTS = ("error", "crash", "exit", "hang", "refuse", "garbage", "noise", "slow", "orphan")
DEATHS = ("exit", "stranger", "hangup", "stubborn")
INTERRUPTS = ("waiting", "offered", "reading", "writing", "point", "twice", "cancel", "drop")


class Op(msgspec.Struct, frozen=True, gc=False):
    """One operation of a client: `kind` is a command, batch, lease, stream, end or status.

    `fault` is what the worker does on the first request; `interrupt` is when the client is interrupted, `at` where.
    """

    index: int
    client: int
    kind: str
    think_ms: int
    service_ms: int
    timeout_ms: int
    wait_ms: int
    session: str | None = None
    count: int = 1
    size: int = 0
    fault: str = ""
    interrupt: str = ""
    at: int = 0


class Plan(msgspec.Struct, frozen=True):
    """Everything that happens from outside. `options` are those of PoolConfig; `traits` those of the simulated machine.

    `starts` maps the ordinal of a worker's start to its fault; `deaths` are a time and a kind each.
    """

    seed: int
    options: dict[str, Any]
    traits: dict[str, int]
    clients: int
    ops: tuple[Op, ...]
    starts: dict[int, str]
    deaths: tuple[tuple[int, str], ...]

    @property
    def calm(self) -> bool:
        """Whether no worker, client or start of this plan misbehaves."""
        return not self.starts and not self.deaths and not any(op.fault or op.interrupt for op in self.ops)

    def keep(
        self,
        *,
        ops: Collection[int] | None = None,
        starts: Collection[int] | None = None,
        deaths: Collection[int] | None = None,
        plain: Collection[str] = (),
    ) -> Plan:
        """Return the plan of these operations, starts and deaths (by position), without the options in `plain`."""
        return msgspec.structs.replace(
            self,
            ops=self.ops if ops is None else tuple(op for op in self.ops if op.index in ops),
            starts=self.starts if starts is None else {n: kind for n, kind in self.starts.items() if n in starts},
            deaths=self.deaths if deaths is None else tuple(d for n, d in enumerate(self.deaths) if n in deaths),
            options={name: value for name, value in self.options.items() if name not in plain},
        )


def must_fail(op: Op, item: int) -> bool:
    """Whether a worker refuses this call of an operation."""
    if op.kind == "lease":
        return op.index % 4 == 0 and item == 1
    return op.kind in ("fail", "bad_put") or (op.kind == "stream" and op.index % 7 == 5)


def make_plan(seed: int, calls: int = 250) -> Plan:
    """Draw the plan of this seed, with about this many calls."""
    rng = Random(f"plan {seed}")
    random = rng.random

    def one_in(chances: int) -> bool:
        return random() * chances < 1

    options = _options(rng, one_in)
    faults = _some(rng, WORKER_FAULTS) if one_in(2) else []
    interrupts = _some(rng, INTERRUPTS) if one_in(3) else []
    kinds = ["echo"] * 4
    sessions = 0
    if one_in(2):
        kinds += _some(rng, ("fail", "batch", "lease", "stream", "status", "big"))
    if one_in(2):
        kinds += ["put", "append", "get", *_some(rng, ("end", "batch_put", "bad_put", "stream", "sleep"))]
        sessions = 1 + int(random() * 3)
    clients = 1 + int(random() * (3 * options["workers"] if one_in(2) else 12))
    hurry = rng.choice((0, 0, 1, 4, 20))
    services = rng.choice(((0,), (1,), (0, 1, 2), (1, 5), (0, 0, 0, 30)))
    limits = rng.choice(((30_000,), (30_000,), (30_000,), (3000, 30_000), (1, 2, 5, 50), (2, 10, 2500)))
    waits = rng.choice(((5000,), (5000,), (5000,), (1, 3), (2, 20, 2100), (2100, 3000), (2, 5000)))
    fault_in, interrupt_in = rng.choice((5, 20, 60)), rng.choice((5, 20, 60))
    ops: list[Op] = []
    left = calls
    while left > 0:
        kind = kinds[int(random() * len(kinds))]
        in_session = sessions and kind in IN_SESSION
        fault = faults[int(random() * len(faults))] if faults and one_in(fault_in) else ""
        interrupt = interrupts[int(random() * len(interrupts))] if interrupts and one_in(interrupt_in) else ""
        count = 1 + int(random() * 8) if kind in ("batch", "batch_put", "lease", "stream") else 1
        timeout_ms = limits[int(random() * len(limits))]
        if fault in ("hang", "trickle", "deaf") or kind == "big":
            timeout_ms = min(timeout_ms, rng.choice((50, 2500, 4000)))
        ops.append(
            Op(
                index=len(ops),
                client=int(random() * clients),
                kind=kind,
                think_ms=int(random() * (1 + hurry)),
                service_ms=services[int(random() * len(services))],
                timeout_ms=timeout_ms,
                wait_ms=waits[int(random() * len(waits))],
                session=f"s{int(random() * sessions)}" if in_session else None,
                count=count,
                size=int(random() * 300) if one_in(8) else 0,
                fault=fault,
                interrupt=interrupt,
                at=int(random() * (24 if interrupt in ("point", "twice") else 4)),
            )
        )
        left -= count if kind not in ("stream", "status", "end") else 1
    starts: dict[int, str] = {}
    if one_in(4):
        kinds_of_start = _some(rng, START_FAULTS)
        first, often = int(random() * 4), rng.choice((1, 2, 5))
        starts = {n: rng.choice(kinds_of_start) for n in range(first, first + 12) if one_in(often)}
    deaths: tuple[tuple[int, str], ...] = ()
    if one_in(4):
        kinds_of_death = _some(rng, DEATHS)
        span = rng.choice((20, 100, 2 * calls))
        deaths = tuple((int(random() * span), rng.choice(kinds_of_death)) for _ in range(1 + int(random() * 20)))
    traits = {
        "pipe_bytes": rng.choice((65536, 65536, 4000, 400)),
        "kill_us": rng.choice((0, 0, 300)),
        "start_ms": rng.choice((0, 1, 1, 20)),
        "leave_ms": rng.choice((0, 1, 5)),
        "late_us": rng.choice((0, 0, 0, 700)),
        "lazy_turns": int(one_in(2)),
        "observed": int(one_in(4)),
        "tasks": int(one_in(3)),
        "reply_pipes": int(one_in(2)),
        "preempt_every": rng.choice((0, 0, 3, 20)),
        "by_the_book": int(one_in(8)),
        "close_ms": int(random() * calls * 3) if one_in(5) else 0,
        "grace_ms": rng.choice((0, 5, 1000)),
        "warm_up": int(one_in(6)),
        "no_cleanup": int(one_in(12)),
        "reap_us": rng.choice((0, 0, 1500)),
        "keep_on_cancel": int(one_in(2)),
    }
    return Plan(seed, options, traits, clients, tuple(ops), starts, deaths)


def _options(rng: Random, one_in: Callable[[int], bool]) -> dict[str, Any]:
    options: dict[str, Any] = {"workers": rng.choice((1, 1, 2, 2, 3, 4)), "start_timeout_s": rng.choice((0.05, 0.5))}
    choices: dict[str, tuple[Any, ...]] = {
        "overflow": (1, 2),
        "lazy": (True,),
        "max_queue": (0, 1, 2, 4),
        "max_requests": (2, 5, 20, 60),
        "idle_order": ("hot",),
        "session_affinity": ("prefer", "none"),
        "session_ttl_s": (0.02, 0.2, 1.0),
        "session_log_bytes": (0, 300, 2000),
        "snapshot_commands": (None,),
        "start_failures_to_open": (1, 2, 3),
        "circuit_reset_s": (0.1, 1.0),
        "max_age_s": (0.2, 1.0),
        "idle_timeout_s": (0.02, 0.2),
        "ping_interval_s": (0.05, 0.3),
        "max_idle_pings": (2,),
        "min_workers": (0, 1),
        "ping_timeout_s": (0.05,),
    }
    for name, values in choices.items():
        if one_in(5):
            options[name] = rng.choice(values)
    if options.get("min_workers", 0) > options["workers"]:
        del options["min_workers"]
    return options


def _some(rng: Random, kinds: tuple[str, ...]) -> list[str]:
    # Few of them or many, at least one.
    found = [kind for kind in kinds if rng.random() < rng.choice((0.2, 0.8))]
    return found or [rng.choice(kinds)]

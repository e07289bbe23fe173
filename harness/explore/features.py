"""Draws which features a generated run has, and the options of its pool.

Swarm testing (Groce et al., 2012): each run leaves out whole features at random. A run with everything in it tests less
than many runs that each lack something, because features mask each other: a kill hides what a timeout would show.
"""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec

from poolproof.harness.model.fault import PIECES_VARIABLE
from poolproof.harness.model.workload import Size

FEATURES = {
    "sessions": 0.6,
    "long_sessions": 0.4,
    "large": 0.35,
    "errors": 0.5,
    "streams": 0.35,
    "sleeps": 0.6,
    "deadlines": 0.4,
    "cancels": 0.25,
    "crashes": 0.3,
    "kills": 0.25,
    "stops": 0.15,
    "garbage": 0.2,
    "noise": 0.25,
    "interrupts": 0.2,
    "close": 0.12,
    "bursts": 0.4,
    "many": 0.4,
    "rows": 0.5,
    "ending_sessions": 0.6,
    "pieces": 0.2,
}
"""Each feature of a workload with the probability that a run has it."""
OPTIONS = {
    "lazy": 0.25,
    "overflow": 0.2,
    "max_queue": 0.25,
    "max_requests": 0.3,
    "min_workers": 0.2,
    "zygote": 0.25,
    "idle_order": 0.35,
    "affinity": 0.5,
    "session_log": 0.45,
    "pings": 0.2,
    "circuit": 0.1,
}
"""Each option, or group of options, with the probability that a run sets it, unless the run is PLAIN."""
PLAIN = 0.2
"""The share of runs whose pool has no option but its size, so that every pool can have them."""
ACCOMPANIED = 0.6
"""The probability that a run with an option also has the features that are needed to test this option."""
EXPIRING = 0.6
"""Of those runs, the share of the runs with sessions in which a session ends if it is not used for a while."""
RESIZED = 0.7
"""Of those runs, the share of the runs with a smallest size in which the pool is resized below it, and back."""
SNAPSHOTS = 0.6
"""Of those runs, the share of the runs with a limited log in which snapshots replace it again and again, while two
workers have parts of each session."""
SNAPSHOT_LOG_BYTES = 1_500
"""A log that holds a snapshot of a small state, and a few changes after it."""
UNSIZED = frozenset({"close", "max_queue", "session_log_bytes"})
"""Features and options with which no pool is resized."""
SHARED = frozenset({"call_timeout_s", "checkout_timeout_s", "close_grace_s", "env"})
"""Options that every pool has."""
PATIENT_S = 60.0
SHORTEST_IDLE_S = 0.15
OFTEN = 20


class Features(msgspec.Struct, frozen=True, kw_only=True):
    """What one generated run has: names of FEATURES, options of PoolConfig, and the size of the run."""

    names: frozenset[str]
    config: dict[str, Any]
    size: Size

    def with_resizes(self) -> Features:
        """Return the features with resizes of the pool; unchanged if a drawn feature depends on the pool's size.

        Of pools with a smallest size, `with_companions` chooses those that are resized.
        """
        if self.size.workers < 2 or "min_workers" in self.config or UNSIZED & {*self.names, *self.config}:
            return self
        return msgspec.structs.replace(self, names=self.names | {"resizes"})

    def with_companions(self, choice: Random) -> Features:
        """Often add the features that are needed to test the drawn options, and let unused sessions end."""
        names, config, size = set(self.names), dict(self.config), self.size
        if "close" in names or choice.random() >= ACCOMPANIED:
            return self
        if "lazy" in config and size.workers > 1:  # otherwise all workers are needed anyway
            size = Size(workers=size.workers, clients=choice.randint(1, size.workers - 1))
        if "max_requests" in config:  # the calls of a batch or a lease count one by one
            names.add("rows")
        if "max_queue" in config:
            names |= {"sleeps", *choice.choice(((), ("sessions",), ("sessions", "long_sessions")))}
            size = Size(workers=min(size.workers, 2), clients=min(size.workers, 2) + config["max_queue"] + 2)
        if config.get("session_log_bytes"):  # sessions that outgrow their log, and then need another worker
            names |= {"sessions", "long_sessions"}
            config["session_affinity"] = choice.choice(("prefer", "none", "none"))
            size = Size(workers=max(size.workers, 2), clients=size.clients)
            if config.get("max_requests", OFTEN) < OFTEN:
                del config["max_requests"]
            if choice.random() < SNAPSHOTS and "start_failures_to_open" not in config:
                names.add("snapshots")
                config |= {"session_affinity": "none", "session_log_bytes": SNAPSHOT_LOG_BYTES}
                size = Size(workers=2, clients=size.clients)
        elif "sessions" in names and choice.random() < EXPIRING and config.keys() - SHARED:
            names.add("lasting_sessions")
            config["session_ttl_s"] = choice.uniform(0.4, 0.8)
        elif "long_sessions" in names and config.keys() - SHARED:  # a log that is long, and needed
            config.setdefault("session_affinity", "none")
        if "ending_sessions" in names and config.keys() - SHARED:  # a worker keeps state of a session that has left it
            config["session_affinity"] = "none"
            size = Size(workers=max(size.workers, 2), clients=size.clients)
        if "start_failures_to_open" in config:  # starts fail one after another only if there is one worker
            size = Size(workers=1, clients=min(size.clients, 3))
            names |= {"faulty_starts", "crashes"}
            for option in ("zygote", "overflow", "min_workers", "idle_timeout_s"):
                config.pop(option, None)
        if "min_workers" in config:
            config["min_workers"] = min(config["min_workers"], size.workers)
            if choice.random() < RESIZED:
                names = (names - {"snapshots"}) | {"resizes"}
                size = Size(workers=max(size.workers, 3), clients=size.clients)
                config = {name: value for name, value in config.items() if name not in UNSIZED}
                config["min_workers"] = 2  # above the one worker of the small pool
        return msgspec.structs.replace(self, names=frozenset(names), config=config, size=size)

    def __contains__(self, name: str) -> bool:
        return name in self.names


def draw_features(choice: Random) -> Features:
    """Draw the features of a run. Features that together would allow every outcome are not combined."""
    names = {name for name, chance in FEATURES.items() if choice.random() < chance}
    if "long_sessions" in names:
        names.add("sessions")
    if "sessions" not in names:
        names.discard("ending_sessions")
    if "close" in names:
        names -= {"interrupts", "cancels", "stops"}
        names.add("sleeps")
    size = Size(workers=choice.randint(1, 4), clients=choice.randint(1, 8))
    plain = choice.random() < PLAIN
    chosen = {name for name, chance in OPTIONS.items() if choice.random() < chance and not plain}
    config: dict[str, Any] = {"call_timeout_s": PATIENT_S, "checkout_timeout_s": PATIENT_S, "close_grace_s": 5.0}
    for name in OPTIONS:  # in this order, so that a draw does not depend on the order of a set
        if name in chosen:
            config |= _option(name, choice, size, names)
    if config.get("max_requests", OFTEN) < OFTEN:
        names -= {"many", "long_sessions"}  # each of a few calls starts a process
    if "pieces" in names:
        config["env"] = {PIECES_VARIABLE: "1"}
    return Features(names=frozenset(names), config=config, size=size)


def _option(name: str, choice: Random, size: Size, names: set[str]) -> dict[str, Any]:
    match name:
        case "lazy":
            return {"lazy": True}
        case "overflow":
            return {"overflow": choice.randint(1, 2)}
        case "max_queue":
            return {"max_queue": choice.randint(0, 3)}
        case "max_requests":
            return {"max_requests": choice.choice((1, 2, 3, 5, 8, 20, 50))}
        case "min_workers":
            least = choice.randint(0, size.workers)
            return {"min_workers": least, "idle_timeout_s": choice.uniform(SHORTEST_IDLE_S, 0.4)}
        case "zygote":
            return {"zygote": True}
        case "idle_order":
            return {"idle_order": choice.choice(("rotate", "hot"))}
        case "affinity":
            return {"session_affinity": choice.choice(("strict", "prefer", "none"))}
        case "session_log":
            return {"session_log_bytes": choice.choice((0, 200, 600, 600, 1_500, 20_000))}
        case "pings":
            return {"ping_interval_s": choice.uniform(0.05, 0.3), "max_idle_pings": choice.randint(1, 3)}
        case _:
            return {"start_failures_to_open": choice.randint(2, 4), "circuit_reset_s": 0.2}

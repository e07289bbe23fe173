"""States that calls leave nothing behind: in this process, in the workers, or in other processes of the pool."""

from __future__ import annotations

import msgspec
import numpy as np

from poolproof.harness.history.history import Growth, History
from poolproof.harness.model.checker import Finding, finding
from poolproof.harness.model.verdict import Verdict

LEAST_STRETCHES = 3
MOST_BLOCKS_A_CALL = 0.2
MOST_BYTES_A_CALL = 300.0
MOST_DESCRIPTORS = 6
"""How many more descriptors a process may hold at the end than at the beginning: requests and forks in progress."""


class NoGrowth(msgspec.Struct, frozen=True, kw_only=True):
    """Calls leave neither memory (here or in the workers) nor descriptors (in the pool's other processes) behind (G21).

    The same calls are repeated in several stretches. A leak grows in every stretch; a cache that fills, or a late
    garbage collection, in some only. So the smallest growth of all stretches but the first is compared with the bound.
    """

    name: str = "no_growth"
    guarantees: tuple[str, ...] = ("G21",)

    def check(self, history: History) -> Finding:
        """Judge the run by the measured stretches after the run."""
        growth = history.growth
        if growth is None:
            return finding(self, Verdict.UNKNOWN, "growth was not measured")
        figures: dict[str, float | int | str] = {}
        wrong: list[str] = []
        for what, unit, held, most in (
            ("this process", "blocks", growth.blocks, MOST_BLOCKS_A_CALL),
            ("this process", "own bytes", growth.own_bytes, MOST_BYTES_A_CALL),
            ("the workers", "bytes", growth.workers_bytes, MOST_BYTES_A_CALL),
        ):
            least = _least(growth, held)
            if least is None:
                continue
            figures[f"{unit.replace(' ', '_')}_a_call"] = round(least, 3)
            if least > most:
                wrong.append(f"each call adds {least:.2f} {unit} to {what}; the limit is {most:g}")
        serving = set(history.services.pid.tolist())
        of_clients = history.info.clients + history.info.workers  # a worker may hold a descriptor for each client
        for pid, before, after in growth.descriptors:
            if after > before + MOST_DESCRIPTORS + (of_clients if pid in serving else 0):
                wrong.append(f"process {pid} had {before} descriptors at the begin, and {after} at the end")
        if wrong:
            return finding(self, Verdict.FAIL, "calls leave something behind", figures=figures, examples=wrong)
        return finding(self, Verdict.PASS, "calls leave nothing behind", figures=figures)


def _least(growth: Growth, held: tuple[int, ...]) -> float | None:
    if len(held) <= LEAST_STRETCHES:
        return None
    return float(np.diff(held)[1:].min()) / growth.calls

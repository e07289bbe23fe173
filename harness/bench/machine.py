"""The machine, and the load that other processes put on it during a measurement. Reads /proc and /sys."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

import psutil

from poolproof.harness.bench.statistics.figures import MachineKey, Quiet

GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


class Times:
    """The processor times since boot, in ticks. Source: proc(5), the first line of /proc/stat."""

    def __init__(self) -> None:
        numbers = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        self.total = sum(numbers)
        self.idle = numbers[3] + numbers[4]
        self.steal = numbers[7]


class QuietWatch:
    """Measures the activity of other processes from its creation to `end`. `gate`: whether the quiet gate is held."""

    def __init__(self, *, gate: bool) -> None:
        self._gate = gate
        self._load = os.getloadavg()[0]
        self._before, self._began = Times(), time.process_time()

    def end(self, workers_cpu_s: float) -> Quiet:
        """The activity since creation. `workers_cpu_s`: processor seconds of the bench's own workers in that time."""
        after = Times()
        total = max(after.total - self._before.total, 1)
        busy = total - (after.idle - self._before.idle) - (after.steal - self._before.steal)
        own = (time.process_time() - self._began + workers_cpu_s) * os.sysconf("SC_CLK_TCK")
        return Quiet(
            gate=self._gate,
            others=min(max((busy - own) / total, 0.0), 1.0),
            steal=(after.steal - self._before.steal) / total,
            load_before=self._load,
            load_after=os.getloadavg()[0],
            clock_ns=max(round(time.get_clock_info("monotonic").resolution * 1e9), 1),
        )


def describe() -> MachineKey:
    """The machine's properties, without any name that identifies it."""
    return MachineKey(
        processor=processor(),
        cpus=len(os.sched_getaffinity(0)),
        memory_gib=round(psutil.virtual_memory().total / 2**30),
        kernel=platform.release(),
        interpreter=f"{platform.python_implementation()} {platform.python_version()}",
        governor=GOVERNOR.read_text().strip() if GOVERNOR.is_file() else "",
    )


def processor() -> str:
    """The processor model, or the architecture if /proc/cpuinfo does not name a model."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()

"""Resources of a pool: processor time, memory, descriptors, threads and context switches of workers and process.

Read by psutil; the process's own context switches by getrusage, since psutil reports one thread only. A worker that has
ended is left out.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterable

import psutil

from poolproof.harness.bench.statistics.figures import Resources


class Meter:
    """Reads the resources of workers by their pids, and of this process."""

    def __init__(self) -> None:
        self._known: dict[int, psutil.Process] = {}
        self._here = psutil.Process()

    def workers(self, pids: Iterable[int]) -> Resources | None:
        """Return the resources of all workers together; None if no worker could be read."""
        found = [used for pid in pids if (used := self._worker(pid)) is not None]
        if not found:
            return None
        pss = [used.pss_bytes for used in found if used.pss_bytes is not None]
        return Resources(
            cpu_s=sum(used.cpu_s for used in found),
            rss_bytes=sum(used.rss_bytes for used in found),
            pss_bytes=sum(pss) if len(pss) == len(found) else None,
            fds=sum(used.fds for used in found),
            threads=sum(used.threads for used in found),
            switches=sum(used.switches for used in found),
        )

    def process(self) -> Resources:
        """The resources of this process, all threads included."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        with self._here.oneshot():
            return Resources(
                cpu_s=time.process_time(),
                rss_bytes=self._here.memory_info().rss,
                pss_bytes=_pss(self._here),
                fds=self._here.num_fds(),
                threads=self._here.num_threads(),
                switches=usage.ru_nvcsw + usage.ru_nivcsw,
            )

    def _worker(self, pid: int) -> Resources | None:
        try:
            process = self._known.get(pid)
            if process is None:
                process = self._known[pid] = psutil.Process(pid)
            with process.oneshot():
                times, switches = process.cpu_times(), process.num_ctx_switches()
                return Resources(
                    cpu_s=times.user + times.system,
                    rss_bytes=process.memory_info().rss,
                    pss_bytes=_pss(process),
                    fds=process.num_fds(),
                    threads=process.num_threads(),
                    switches=switches.voluntary + switches.involuntary,
                )
        except psutil.Error:
            self._known.pop(pid, None)
            return None


def _pss(process: psutil.Process) -> int | None:
    try:
        return int(process.memory_full_info().pss)
    except (psutil.Error, AttributeError):
        return None

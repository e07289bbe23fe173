"""Bugs in the start, the stderr and the end of worker processes, which both pools use."""

from __future__ import annotations

from typing import Any

from poolproof.bridge.processes import launch as launching
from poolproof.bridge.processes.output.stderr import StderrDrain, StderrTail
from poolproof.bridge.processes.process import WorkerProcess
from poolproof.bridge.processes.process_manager import ProcessManager
from poolproof.harness.mutation.mutant import BOTH, Registry
from poolproof.harness.mutation.planting import replace

REGISTRY = Registry()


@REGISTRY.bug(*BOTH, breaks=("G25",), scenarios=("noisy_call",), fix="stderr merged", worker="merge_stderr")
def stderr_merged() -> None:
    """A worker's printed output goes into its stream of frames."""


@REGISTRY.bug(*BOTH, breaks=("G24",), scenarios=("ctrl_c_in_terminal",), worker="obey_sigint")
def worker_obeys_sigint() -> None:
    """Ctrl-C in the terminal ends the workers too."""


@REGISTRY.bug(*BOTH, breaks=("G25",), scenarios=("noisy_call",))
def stderr_not_drained() -> None:
    """A worker's stderr is not read, so a flood of output blocks the worker."""

    def deaf(watch: Any) -> Any:
        def watch_end_only(self: StderrDrain, fd: int, tail: StderrTail) -> None:
            watch(self, fd, tail)
            self._epoll.modify(fd, 0)

        return watch_end_only

    replace(StderrDrain, "watch", deaf)


@REGISTRY.bug(*BOTH, breaks=("G25",), scenarios=("last_words",))
def no_last_words() -> None:
    """The error of a crashed worker does not contain the worker's last output."""
    replace(StderrTail, "text", lambda _: lambda self, **__: "")


@REGISTRY.bug(*BOTH, breaks=("G12", "G20"), scenarios=("close_busy",))
def kill_ignored() -> None:
    """Killing a worker has no effect."""
    replace(WorkerProcess, "_kill_group", lambda _: lambda self: None)
    replace(WorkerProcess, "_signal_leader", lambda _: lambda self, signum: None)


@REGISTRY.bug(*BOTH, breaks=("G12", "G20"), scenarios=("left_grandchild",))
def group_survives() -> None:
    """A worker is killed without the processes that it has started."""
    replace(WorkerProcess, "_kill_group", lambda _: lambda self: None)
    replace(launching, "tie", lambda _: lambda lifeline_read, pid: None)


@REGISTRY.bug(*BOTH, breaks=("G20",), scenarios=("killed_parent",), worker="ignore_end")
def no_lifeline() -> None:
    """A worker does not notice that its parent has ended."""
    replace(launching, "tie", lambda _: lambda lifeline_read, pid: None)


@REGISTRY.bug(*BOTH, breaks=("G21",), scenarios=("few_calls",))
def descriptors_kept() -> None:
    """The pipes of a reaped worker stay open."""
    replace(WorkerProcess, "close", lambda _: lambda self: None)


@REGISTRY.bug(*BOTH, breaks=("G21",), scenarios=("few_calls",))
def drain_kept() -> None:
    """The thread that reads stderr outlives its pool."""
    replace(StderrDrain, "close", lambda _: lambda self: None)


@REGISTRY.bug(*BOTH, breaks=("G23",), scenarios=("fork_in_client", "forked_client"))
def fork_unguarded() -> None:
    """A forked child may use its copy of the pool."""
    replace(ProcessManager, "require_owner", lambda _: lambda self: None)

"""`python -m benchmarks.studies.recording`: the cost of recording an operation, and of checking a long history.

`--ops N` sets the number of operations.

Both are measured without a pool. First every checker runs over a synthetic history of N operations, read from a run
folder with its events, journals, faults and sessions. Then a client does nothing but record N operations. The figures
are processor time, since other programs disturb it less than wall time.
"""

from __future__ import annotations

import argparse
import gc
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from benchmarks.studies.long_history import WORKERS, write_long_history
from poolproof.bridge import OUTCOMES, Event, EventKind
from poolproof.bridge.clock import now_ns
from poolproof.harness import checkers
from poolproof.harness.history.history import Op
from poolproof.harness.model.checker import Checker, Finding, run_checker
from poolproof.harness.model.fault import FaultKind
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.model.workload import Step
from poolproof.harness.run.recording.recorder import Recorder
from poolproof.harness.run.store import RunFolder

GOAL_RECORD_US = 2.0
GOAL_CHECK_S = 20.0
GOAL_BYTES = 1 << 30
ENDS = frozenset(OUTCOMES)
EXCHANGE = (EventKind.ENQUEUE, EventKind.ACCEPT, EventKind.SEND, EventKind.RECEIVE, EventKind.CHECKIN, EventKind.DONE)
"""The events that a pool reports for a call that does not wait."""

KINDS: tuple[Checker, ...] = (
    *checkers.CORE,
    checkers.BoundedStart(timeout_s=10.0),
    checkers.CloseBounded(within_s=5.0),
    checkers.Deadlines(slack_s=0.5),
    checkers.Fifo(),
    checkers.HandOff(),
    checkers.Independence(epsilon_s=0.1, stuck_s=0.0005),
    checkers.FaultLanded(kinds=(FaultKind.KILL, FaultKind.HANG)),
    checkers.LabelledOutcome(label="call", outcomes=ENDS),
    checkers.LeakSlope(),
    checkers.Linearizable(),
    checkers.OneOutcome(allowed=ENDS),
    checkers.Overlap(),
    checkers.ParallelStart(),
    checkers.Prompt(label="call", within_s=1.0),
    checkers.Recovered(first_ok_s=1.0),
    checkers.Recycled(),
    checkers.Replaced(label="none"),
    checkers.Restraint(at_most=WORKERS),
    checkers.Seen(kind=FaultKind.KILL, allowed=frozenset({""})),
    checkers.Sessions(),
    checkers.TimeoutKills(grace_s=1.0),
    checkers.Versions(),
    checkers.WorkConserving(epsilon_s=0.1),
)


class Recording(msgspec.Struct, frozen=True):
    """Microseconds per operation: the client's own processor time, the whole process's, and wall time.

    `observed_us` is the client's processor time including six events that a pool reports in the client's thread.
    """

    client_us: float
    process_us: float
    wall_us: float
    observed_us: float


class Checking(msgspec.Struct, frozen=True):
    """The cost of reading a run folder and of running every checker. Seconds are processor time, of one core.

    `wall_s` is the wall time of all checkers, `peak_bytes` the largest size of the process until then.
    """

    operations: int
    load_s: float
    seconds: dict[str, float]
    wall_s: float
    peak_bytes: int
    findings: tuple[Finding, ...]

    @property
    def check_s(self) -> float:
        """Processor seconds of all checkers together."""
        return sum(self.seconds.values())


def measure_recording(operations: int, path: Path) -> Recording:
    """Record `operations` operations in this thread without a pause, and write them to `path`."""
    client_us, process_us, wall_us = _record(operations, path, ())
    observed_us, _, _ = _record(max(operations // 5, 1), path, EXCHANGE)
    return Recording(client_us, process_us, wall_us, observed_us)


def _record(operations: int, path: Path, kinds: Sequence[EventKind]) -> tuple[float, float, float]:
    recorder = Recorder(path)
    step = Step(command="echo")
    begun = now_ns()
    ops = [
        Op(index=n, client=0, command="echo", args={"nonce": n}, nonce=str(n), intended_ns=begun, invoked_ns=begun)
        for n in range(operations)
    ]
    exchanges = [[Event(kind, begun, n, 1, 1) for kind in kinds] for n in range(operations)] if kinds else [[]]
    gc.collect()
    gc.freeze()  # keep these prepared operations out of the collector; in a run they would not exist yet
    observe = recorder.observe
    wall_s, process_s, thread_s = time.perf_counter(), time.process_time(), time.thread_time()
    if kinds:
        for op, events in zip(ops, exchanges, strict=True):
            running = recorder.invoke(step, op)
            for event in events:
                observe(event)
            recorder.complete(running, step, value=op.args, error=None)
    else:
        for op in ops:
            recorder.complete(recorder.invoke(step, op), step, value=op.args, error=None)
    wall_s, thread_s = time.perf_counter() - wall_s, time.thread_time() - thread_s
    recorder.close()
    process_s = time.process_time() - process_s
    gc.unfreeze()
    thread_us, process_us, wall_us = (seconds * 1e6 / operations for seconds in (thread_s, process_s, wall_s))
    return thread_us, process_us, wall_us


def measure_checking(folder: RunFolder, *, on_found: Callable[[Finding, float], None] | None = None) -> Checking:
    """Read the folder and run every checker; call `on_found` with each finding and its seconds."""
    began = time.process_time()
    history = folder.read_history()
    load_s = time.process_time() - began
    seconds: dict[str, float] = {}
    findings = []
    wall_s = time.perf_counter()
    for checker in KINDS:
        began = time.process_time()
        found = run_checker(checker, history)
        seconds[checker.name] = time.process_time() - began
        findings.append(found)
        if on_found is not None:
            on_found(found, seconds[checker.name])
    wall_s = time.perf_counter() - wall_s
    return Checking(len(history.ops), load_s, seconds, wall_s, resident_peak(), tuple(findings))


def resident_peak() -> int:
    """The largest resident size of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(argv: Sequence[str] | None = None) -> int:
    """Print all figures; the exit status is 1 if a goal was missed or a checker failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.studies.recording", description=__doc__)
    parser.add_argument("--ops", type=int, default=1_000_000, help="how many operations (%(default)s)")
    options = parser.parse_args(argv)
    if not 1000 <= options.ops <= 10_000_000:
        parser.error(f"--ops {options.ops}: 1000 to 10000000")
    with tempfile.TemporaryDirectory() as parent:
        folder = write_long_history(Path(parent), options.ops)
        checking = measure_checking(
            folder,
            on_found=lambda found, took_s: print(f"  {found.verdict:8}{took_s:7.2f} s  {found.checker}: {found.claim}"),
        )
        cost = measure_recording(options.ops, Path(parent) / "history.jsonl")
    failed = [found.checker for found in checking.findings if found.verdict is Verdict.FAIL]
    print(f"loading {checking.operations} operations: {checking.load_s:.2f} s of processor time")
    print(f"checking: {checking.check_s:.2f} s of processor time for {len(KINDS)} checkers (goal {GOAL_CHECK_S:g} s),")
    print(f"          {checking.wall_s:.2f} s of wall time")
    print(f"memory: {checking.peak_bytes >> 20} MB at most, history and all (goal {GOAL_BYTES >> 20} MB)")
    print(f"recording: {cost.client_us:.2f} µs of the client's time an operation (goal {GOAL_RECORD_US:g} µs),")
    print(f"           {cost.process_us:.2f} µs of the whole process's, {cost.wall_us:.2f} µs of wall time;")
    print(f"           {cost.observed_us:.2f} µs of the client's time with the six events of a call")
    missed = checking.wall_s > GOAL_CHECK_S or checking.peak_bytes > GOAL_BYTES or cost.client_us > GOAL_RECORD_US
    return int(missed or bool(failed))


if __name__ == "__main__":
    sys.exit(main())

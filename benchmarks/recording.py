"""`python -m benchmarks.recording [--ops N]`: what recording costs an operation, and the checkers a long history.

Both on synthetic operations, with no pool: a client that does nothing but record, then every checker over a history
of as many calls, each with its six events and its journal entry.
"""

from __future__ import annotations

import argparse
import gc
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from bridge import Event, EventKind, ServiceInterval, Statistics
from bridge.clock import now_ns
from harness import checkers
from harness.checker import Checker, run_checker
from harness.history import History, Leftovers, Op, OpType, RunInfo
from harness.recorder import Recorder
from harness.workload import Step

WORKERS = 16
SESSIONS = 1000
EXCHANGE = (
    (EventKind.ENQUEUE, 1),
    (EventKind.ACCEPT, 2),
    (EventKind.SEND, 3),
    (EventKind.RECEIVE, 6),
    (EventKind.CHECKIN, 7),
    (EventKind.DONE, 8),
)
"""The steps of a call and their microseconds from its begin; it takes nine, and its worker is free for one more."""
CALL_US = 10
GOAL_RECORD_US = 2.0
GOAL_CHECK_S = 20.0
GOAL_BYTES = 1 << 30

KINDS: tuple[Checker, ...] = (
    *checkers.CORE,
    checkers.Audit(),
    checkers.BoundedStart(timeout_s=10.0),
    checkers.CloseBounded(within_s=5.0),
    checkers.Deadlines(slack_s=0.5),
    checkers.Fifo(),
    checkers.HandOff(),
    checkers.Independence(epsilon_s=0.1),
    checkers.LabelledOutcome(label="call", outcomes=frozenset({"result"})),
    checkers.LeakSlope(),
    checkers.Linearizable(),
    checkers.OneOutcome(),
    checkers.Overlap(),
    checkers.ParallelStart(),
    checkers.Prompt(label="call", within_s=1.0),
    checkers.Recovered(first_ok_s=1.0),
    checkers.Recycled(),
    checkers.Replaced(label="none"),
    checkers.Restraint(at_most=WORKERS),
    checkers.Sessions(),
    checkers.StableWorkers(),
    checkers.TimeoutKills(grace_s=1.0),
    checkers.Versions(),
    checkers.WorkConserving(epsilon_s=0.1),
)


class Recording(msgspec.Struct, frozen=True):
    """Microseconds an operation: of the client's own processor time, of the whole process's, and of wall time."""

    client_us: float
    process_us: float
    wall_us: float


def measure_recording(operations: int, path: Path) -> Recording:
    """Begin and end `operations` operations in this thread as fast as it goes, and write all to `path`."""
    recorder = Recorder(path)
    step = Step(command="echo")
    begun = now_ns()
    ops = [
        Op(index=n, client=0, command="echo", args={"nonce": n}, nonce=str(n), intended_ns=begun, invoked_ns=begun)
        for n in range(operations)
    ]
    gc.collect()
    gc.freeze()  # the operations of this loop are there before it, which those of a run are not
    wall_s, process_s, thread_s = time.perf_counter(), time.process_time(), time.thread_time()
    for op in ops:
        recorder.complete(recorder.invoke(step, op), step, value=op.args, error=None)
    wall_s, thread_s = time.perf_counter() - wall_s, time.thread_time() - thread_s
    recorder.close()
    process_s = time.process_time() - process_s
    return Recording(*(seconds * 1e6 / operations for seconds in (thread_s, process_s, wall_s)))


def synthetic_history(operations: int) -> History:
    """`operations` calls without a fault, on as many workers at once as there are, half of them in sessions."""
    info = RunInfo(
        scenario="synthetic",
        pool="v2",
        pool_name="synthetic",
        seed=1,
        workers=WORKERS,
        clients=WORKERS,
        profile="full",
        started_at="",
        started_ns=0,
        call_timeout_s=5.0,
        checkout_timeout_s=5.0,
    )
    ops, events, services = [], list(_starts()), []
    for index in range(operations):
        op, service = _call(index)
        ops.append(op)
        services.append(service)
        for kind, us in EXCHANGE:
            worker, pid = (None, None) if kind in (EventKind.ENQUEUE, EventKind.DONE) else (op.worker, op.pid)
            events.append(Event(kind, op.invoked_ns + us * 1000, op.call, worker, pid))
    end_ns = ops[-1].invoked_ns + 1_000_000
    events += [
        Event(kind, end_ns + 1, None, worker, 1000 + worker, "retired")
        for worker in range(1, WORKERS + 1)
        for kind in (EventKind.KILL, EventKind.REAP)
    ]
    return History(
        info=info,
        ops=tuple(ops),
        events=tuple(events),
        services=tuple(services),
        leftovers=Leftovers(),
        statistics=Statistics(submitted=operations, in_flight=0, outcomes={"result": operations}),
        begun_ns=0,
        ended_ns=end_ns,
        close_began_ns=end_ns,
        close_ended_ns=end_ns + 10,
        finished=True,
    )


def _starts() -> Iterator[Event]:
    for worker in range(1, WORKERS + 1):
        yield Event(EventKind.SPAWN, 1, None, worker, 1000 + worker)
        yield Event(EventKind.READY, 2, None, worker, 1000 + worker)


def _call(index: int) -> tuple[Op, ServiceInterval]:
    turn, worker = divmod(index, WORKERS)
    invoked = 1000 + turn * CALL_US * 1000
    nonce = f"1.{worker}.{turn}"
    bound = index % 2 == 1
    session = f"s{turn % SESSIONS}/{worker}" if bound else None
    number = turn // SESSIONS
    args = {"nonce": nonce}
    value: object = args
    command = "echo"
    if bound:
        command = "put" if number % 2 == 0 else "get"
        args = {"nonce": nonce, "key": "k", "value": f"v{number}"} if command == "put" else {"nonce": nonce, "key": "k"}
        value = {"stored": True} if command == "put" else {"value": f"v{number - 1}", "found": True}
    op = Op(
        index=index,
        client=worker,
        command=command,
        args=args,
        nonce=nonce,
        label="call",
        session=session,
        intended_ns=invoked,
        invoked_ns=invoked,
        checked_out_ns=invoked + 2000,
        sent_ns=invoked + 3000,
        received_ns=invoked + 6000,
        completed_ns=invoked + 9000,
        type=OpType.OK,
        outcome="result",
        sent="yes",
        value=value,
        completions=1,
        call=index + 1,
        worker=worker + 1,
        pid=1001 + worker,
    )
    service = ServiceInterval(
        worker + 1, 1001 + worker, index + 1, command, nonce, invoked + 4000, invoked + 5000, True
    )
    return op, service


def resident_peak() -> int:
    """The largest size that this process ever had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(argv: Sequence[str] | None = None) -> int:
    """Print both figures; the exit status is 1 if a goal was missed or a checker found a fault."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recording", description=__doc__)
    parser.add_argument("--ops", type=int, default=1_000_000, help="how many operations (%(default)s)")
    options = parser.parse_args(argv)
    if not 1000 <= options.ops <= 10_000_000:
        parser.error(f"--ops {options.ops}: 1000 to 10000000")
    history = synthetic_history(options.ops)
    loaded = resident_peak()
    took: dict[str, float] = {}
    failed = 0
    processor_s = time.process_time()
    for checker in KINDS:
        began = time.perf_counter()
        found = run_checker(checker, history)
        took[checker.name] = time.perf_counter() - began
        failed += found.verdict == "fail"
        print(f"  {found.verdict:8}{took[checker.name]:7.2f} s  {checker.name}: {found.claim}")
    processor_s = time.process_time() - processor_s
    check_s, peak = sum(took.values()), resident_peak()
    print(f"checking {options.ops} operations: {check_s:.2f} s for {len(took)} checkers (goal {GOAL_CHECK_S:g} s),")
    print(f"          {processor_s:.2f} s of it processor time")
    print(f"memory: {(peak - loaded) >> 20} MB for the checkers (goal {GOAL_BYTES >> 20} MB)", end="")
    print(f" beside {loaded >> 20} MB for the history, {peak >> 20} MB in all")
    del history
    with tempfile.TemporaryDirectory() as folder:
        cost = measure_recording(options.ops, Path(folder) / "history.jsonl")
    print(f"recording: {cost.client_us:.2f} µs of the client's time an operation (goal {GOAL_RECORD_US:g} µs),")
    print(f"           {cost.process_us:.2f} µs of the whole process's, {cost.wall_us:.2f} µs of wall time")
    missed = check_s > GOAL_CHECK_S or peak - loaded > GOAL_BYTES or cost.client_us > GOAL_RECORD_US
    return int(missed or failed > 0)


if __name__ == "__main__":
    sys.exit(main())

"""A foreign worker: V2 compared with the bare hand-off, both with the same small worker written in C."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks import systems
from benchmarks.blocks import BenchError, System, measure_blocks, open_all, ratio_of_rates
from benchmarks.effort import Effort, Limit
from benchmarks.experiments.calls import row_of
from benchmarks.records import Goal, Result, Row, judge

SOURCE = Path(__file__).parents[1] / "echo_worker.c"
COMPILE_TIMEOUT_S = 60.0
CLIENTS = (8, 32)
BARE = "bare hand-off"
GOAL = 1.0


def compile_worker(compiler: str, folder: Path) -> str:
    """Compile the worker into the folder, and return its command. Raises BenchError if the compiler fails."""
    program = folder / "echo_worker"
    done = subprocess.run(
        [compiler, "-O2", "-o", str(program), str(SOURCE)], capture_output=True, text=True, timeout=COMPILE_TIMEOUT_S
    )
    if done.returncode:
        raise BenchError(f"{compiler} could not compile {SOURCE.name}: {done.stderr[-500:]}")
    return shlex.quote(str(program))


def foreign_worker(effort: Effort, subjects: Mapping[str, System] | None = None) -> Result:
    """Calls per second at 8 and 32 clients; without a C compiler an empty result with the reason."""
    title = f"No-op calls, {effort.workers} workers in C"
    compiler = shutil.which("cc")
    if compiler is None and subjects is None:
        note = "skipped: there is no C compiler (cc)"
        return Result(experiment="foreign-worker", title=title, rows=(), goals=(), notes=(note,))
    rows: list[Row] = []
    goals: list[Goal] = []
    limit = Limit(effort.limit_s)
    with ExitStack() as stack:
        if subjects is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            command = compile_worker(str(compiler), Path(folder))
            subjects = {
                "V2": partial(systems.v2, worker_command=command),
                BARE: partial(systems.bare_hand_off, worker_command=command),
            }
        opened, notes = open_all(stack, subjects, effort.workers)
        for clients in CLIENTS:
            found = measure_blocks(
                opened,
                clients=clients,
                rounds=effort.contended_rounds,
                seconds=effort.contended_block_s,
                seed=effort.seed + clients,
                limit=limit,
            )
            ratio = ratio_of_rates(found[BARE], found["V2"])
            rows += [
                row_of(f"{clients} clients", name, blocks, ratio if name == BARE else None)
                for name, blocks in found.items()
            ]
            goals.append(judge(f"calls/s at {clients} clients on a C worker, V2 / {BARE}", ratio, at_least=GOAL))
            notes += limit.notes(len(found["V2"]), effort.contended_rounds)
    return Result(experiment="foreign-worker", title=title, rows=tuple(rows), goals=tuple(goals), notes=notes)

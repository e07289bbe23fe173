"""Runs one scenario in a separate process, so that runs cannot disturb one another and a crash ends only one run.

Entry point. Exits when the parent closes stdin, a pipe that only the parent holds; the pool's workers then exit by
their lifeline. Usage: `python -m poolproof.harness.run.job`, with a JobOrder as JSON on the first line of stdin.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, Literal, TypeVar

import msgspec

from poolproof.bridge.config import module_command
from poolproof.bridge.processes.interpreter import adopt, environment, with_flags
from poolproof.bridge.redaction import hide, redact_text, secrets_of
from poolproof.harness.compare.catalogue import find_scenarios
from poolproof.harness.compare.comparison import RunResult
from poolproof.harness.compare.coverage_run import CoverageRun
from poolproof.harness.model.errors import HarnessError
from poolproof.harness.model.scenario import Scenario
from poolproof.harness.model.verdict import Verdict
from poolproof.harness.run.runner import Request, Subject, run
from poolproof.harness.subjects.pools import find_pool

END_WAIT_S = 5.0
MEASURED_END_WAIT_S = 60.0


class JobOrder(msgspec.Struct, frozen=True, kw_only=True):
    """The run to make. `scenario` is a name of the catalogue, or of a scenario that `file` defines."""

    scenario: str
    file: str = ""
    pool: str
    request: Request
    out: str


Action = TypeVar("Action", bound=JobOrder)


class Job:
    """A running job, as its parent sees it. `module` is run as a program that reads the order.

    `command` replaces the command that runs `module`. `fork` starts the process in another way: see
    poolproof.harness.run.jobserver. `end_wait_s` is how many seconds the job may take to exit by itself.
    """

    def __init__(
        self,
        order: JobOrder,
        module: str = "poolproof.harness.run.job",
        *,
        command: Sequence[str] = (),
        fork: Callable[[int, int, int], int] | None = None,
        end_wait_s: float = END_WAIT_S,
    ) -> None:
        self.order = order
        self._end_wait_s = end_wait_s
        self._lock = threading.Lock()
        self._errors: str | None = None
        # Unlike a pipe, a file never fills up while nothing reads it. `end` closes the file.
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            self._process = self._start(list(command) or list(with_flags(module_command(module))), fork)
        except BaseException:
            self._stderr.close()
            raise
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # the job has ended already; `result` reports that
            self._process.stdin.write(msgspec.json.encode(order) + b"\n")
            self._process.stdin.flush()

    def _start(
        self, command: list[str], fork: Callable[[int, int, int], int] | None
    ) -> subprocess.Popen[bytes] | Forked:
        if fork is not None:
            return Forked(fork, self._stderr.fileno())
        return subprocess.Popen(
            command,
            env={**os.environ, **environment()},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            process_group=0,  # Ctrl-C is for the parent, which ends its jobs in order
        )

    def result(self, timeout_s: float) -> RunResult:
        """Wait at most `timeout_s` seconds for the result. If the job crashed or took too long, `trouble` says so."""
        trouble = ""
        try:
            # communicate() would close stdin, which tells the job to exit.
            assert self._process.stdout is not None
            if not select.select([self._process.stdout], [], [], timeout_s)[0]:
                trouble = f"the run took longer than {timeout_s:.0f} s"
            else:
                text = self._process.stdout.readline()
                if text:
                    return msgspec.json.decode(text, type=RunResult)
        except msgspec.DecodeError as error:
            trouble = f"the run's answer is damaged: {error}"
        except ValueError:  # `end` closed it meanwhile, in another thread
            trouble = "the run was ended"
        finally:
            errors = self.end()
        if not trouble:
            last = errors.strip().splitlines()[-1:] or [f"status {self._process.returncode}"]
            told = hide(redact_text(last[0]), secrets_of(os.environ))
            trouble = f"the run's process failed: {told}"
        return RunResult(
            scenario=self.order.scenario,
            pool=self.order.pool,
            seed=self.order.request.seed,
            face=self.order.request.face,
            observed=self.order.request.observed,
            verdict=Verdict.UNKNOWN,
            trouble=trouble,
        )

    def end(self) -> str:
        """End the process if it still runs; return its stderr. Idempotent, and safe from several threads."""
        with self._lock:
            if self._errors is None:
                self._errors = self._end()
            return self._errors

    def _end(self) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(self._end_wait_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        with self._stderr:
            self._stderr.seek(0)
            return self._stderr.read().decode("utf-8", "replace")


class Forked:
    """A process that a fork server has made, with the methods of subprocess.Popen that a job needs.

    `fork` takes the process's stdin, stdout and stderr, and returns a pidfd. The process is not a child of this
    process, so its exit status is unknown.
    """

    returncode: int | None = None

    def __init__(self, fork: Callable[[int, int, int], int], stderr: int) -> None:
        order, self.stdin = _pipe("wb")
        answer, self.stdout = _pipe("rb")
        try:
            self._pidfd = fork(order, answer, stderr)
        except BaseException:
            self.stdin.close()
            self.stdout.close()
            raise
        finally:
            os.close(order)
            os.close(answer)

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the process ends. Raises subprocess.TimeoutExpired."""
        if self._pidfd < 0:
            return
        if not select.select([self._pidfd], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired("a forked job", timeout or 0.0)
        os.close(self._pidfd)
        self._pidfd = -1

    def kill(self) -> None:
        """Send SIGKILL if the process still runs."""
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)


def _pipe(mode: Literal["rb", "wb"]) -> tuple[int, BinaryIO]:
    # The job's end as a descriptor, and this process's end as a file.
    read, write = os.pipe()
    return (read, open(write, mode)) if mode == "wb" else (write, open(read, mode))


def start_job(scenario: Scenario, subject: Subject, request: Request, out: Path) -> Job:
    """Start a run of this scenario on this pool in a separate process; its folder is made under `out`."""
    order = JobOrder(scenario=scenario.name, file=scenario.file, pool=subject.name, request=request, out=str(out))
    return Job(order)


def start_measured_job(
    covering: CoverageRun, pool: str, scenario: Scenario, subject: Subject, request: Request, out: Path
) -> Job:
    """Start a run as start_job does; if it is a run of `pool`, measure its coverage."""
    if subject.name != pool:
        return start_job(scenario, subject, request, out)
    order = JobOrder(scenario=scenario.name, file=scenario.file, pool=subject.name, request=request, out=str(out))
    command = covering.command(scenario.name, "poolproof.harness.run.job")
    return Job(order, command=command, end_wait_s=MEASURED_END_WAIT_S)


def _leave_with_parent(answered: threading.Event) -> None:
    poll = select.poll()
    poll.register(0, 0)
    poll.poll()
    if answered.is_set() and "coverage" in sys.modules:
        time.sleep(MEASURED_END_WAIT_S)  # time for the main thread to write the coverage data
    os._exit(0)


def serve(carry_out: Callable[[Action], RunResult], kind: type[Action]) -> int:
    """Run the order on standard input with `carry_out`; write the result as one line to standard output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    line = sys.stdin.buffer.readline()
    order = msgspec.json.decode(line, type=kind)
    answered = threading.Event()
    threading.Thread(target=_leave_with_parent, args=(answered,), name="parent-watch", daemon=True).start()
    answer = os.dup(1)
    os.dup2(2, 1)  # a scenario's own prints must not mix with the result
    try:
        result = carry_out(order)
    except HarnessError as error:
        sys.stderr.write(f"{error}\n")
        return 4
    answered.set()
    data = memoryview(msgspec.json.encode(result) + b"\n")
    while data:
        data = data[os.write(answer, data) :]
    return 0


def carry_out_run(order: JobOrder) -> RunResult:
    """Run the order's scenario on its pool."""
    found = {scenario.name: scenario for scenario in find_scenarios([order.file or order.scenario])}
    subject, request = find_pool(order.pool), order.request
    baseline = find_pool(request.baseline) if subject.face(request.face).two_pools else None
    return run(found[order.scenario], subject, request, Path(order.out), baseline)


def main() -> int:
    """Run the order on standard input."""
    return serve(carry_out_run, JobOrder)


if __name__ == "__main__":
    adopt()
    sys.exit(main())

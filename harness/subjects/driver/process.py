"""The process of a driver: started from a command, written to with a deadline, and ended with all that it has started.

Knows lines, and nothing of their meaning.
"""

from __future__ import annotations

import itertools
import os
import select
import shlex
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable

from poolproof.bridge.clock import now_ns
from poolproof.bridge.machine.tree import POOL_VARIABLE, end_started, mark_of, started_in
from poolproof.harness.model.errors import UsageError
from poolproof.harness.subjects.driver.messages import DriverError

READ_BYTES = 1 << 16
MOST_LINE_BYTES = 256 << 20
STDERR_LINES = 20
END_TREE_S = 2.0
LOOK_S = 0.01
_numbers = itertools.count(1)


class DriverProcess:
    """One running driver. `on_line` gets each line with the time of its arrival, and `on_end` why no more come.

    Both are called in one thread. Raises UsageError if the command cannot be started.
    """

    def __init__(self, command: str, *, on_line: Callable[[bytes, int], None], on_end: Callable[[str], None]) -> None:
        self._on_line, self._on_end = on_line, on_end
        self._mark = mark_of(f"driver-{next(_numbers)}")
        self._stderr: deque[str] = deque(maxlen=STDERR_LINES)
        self._writing = threading.Lock()
        self._over = False
        try:
            words = shlex.split(command)
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, POOL_VARIABLE: self._mark},
                start_new_session=True,
            )
        except (OSError, ValueError, IndexError) as error:
            raise UsageError(f"the driver {command!r} cannot be started: {error}") from error
        assert self._process.stdin is not None, "it is a pipe"
        self._stdin = self._process.stdin.fileno()
        os.set_blocking(self._stdin, False)
        name = f"driver-{self._process.pid}"
        self._drain = threading.Thread(target=self._read_stderr, name=f"{name}-stderr", daemon=True)
        self._reader = threading.Thread(target=self._read_stdout, name=f"{name}-stdout", daemon=True)
        self._drain.start()
        self._reader.start()

    @property
    def pid(self) -> int:
        """The driver's process id."""
        return self._process.pid

    def write(self, line: bytes, *, deadline_ns: int) -> None:
        """Write a line. Raises DriverError if the driver is gone, or does not read before the deadline."""
        if not self._writing.acquire(timeout=_left_s(deadline_ns)):
            raise DriverError("does not read its stdin")
        try:
            left = memoryview(line)
            while left:
                try:
                    left = left[os.write(self._stdin, left) :]
                except BlockingIOError:
                    if not select.select((), (self._stdin,), (), _left_s(deadline_ns))[1]:
                        raise DriverError("does not read its stdin") from None
                except OSError as error:
                    raise DriverError(f"has closed its stdin ({error.strerror})") from error
        finally:
            self._writing.release()

    def end_input(self) -> None:
        """Close the driver's stdin, which asks it to exit. Idempotent."""
        assert self._process.stdin is not None, "it is a pipe"
        with self._writing:
            if not self._process.stdin.closed:
                self._process.stdin.close()
                self._stdin = -1

    def await_exit(self, timeout_s: float) -> int | None:
        """Return the driver's exit status; None if it has not exited within `timeout_s` seconds."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def started(self) -> list[int]:
        """Return the pids of the living processes that the driver has started, even if their parents have ended."""
        return [pid for pid, _ in started_in(self._mark) if pid != self._process.pid]

    def await_empty(self, timeout_s: float) -> list[int]:
        """Wait at most `timeout_s` seconds until the processes that the driver has started end. Returns those left."""
        deadline = time.monotonic() + timeout_s
        while (left := self.started()) and time.monotonic() < deadline:
            time.sleep(LOOK_S)
        return left

    def end(self) -> None:
        """Kill the driver and all that it has started. Idempotent."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        end_started(self._mark, timeout_s=END_TREE_S)
        self._over = True
        self.end_input()
        for thread, stream in ((self._reader, self._process.stdout), (self._drain, self._process.stderr)):
            if thread is not threading.current_thread():
                thread.join(END_TREE_S)
                if stream is not None and not thread.is_alive():
                    stream.close()

    def last_words(self) -> str:
        """Return the last lines of the driver's stderr."""
        self._drain.join(0.1 if self._process.poll() is not None else 0.0)
        return "\n".join(self._stderr)

    def _read_stdout(self) -> None:
        assert self._process.stdout is not None, "it is a pipe"
        fd, rest = self._process.stdout.fileno(), bytearray()
        try:
            while data := os.read(fd, READ_BYTES):
                arrived_ns = now_ns()
                rest += data
                if b"\n" in data:
                    *lines, tail = rest.split(b"\n")
                    rest = bytearray(tail)
                    for line in lines:
                        if line.strip():
                            self._on_line(bytes(line), arrived_ns)
                if self._over:
                    return
                if len(rest) > MOST_LINE_BYTES:
                    raise DriverError(f"wrote a line of more than {MOST_LINE_BYTES} bytes")
        except (OSError, ValueError):  # closed by `end`
            pass
        except DriverError as error:
            self._on_end(error.message)
            return
        self._on_end(
            f"wrote {bytes(rest[:80])!r} without an end of the line, and ended" if rest else self._how_it_ended()
        )

    def _how_it_ended(self) -> str:
        status = self.await_exit(1.0)
        if status is None:
            return "has closed its stdout"
        return f"was ended by signal {-status}" if status < 0 else f"exited with status {status}"

    def _read_stderr(self) -> None:
        assert self._process.stderr is not None, "it is a pipe"
        try:
            for line in self._process.stderr:
                self._stderr.append(line.decode(errors="replace").rstrip("\n")[:1000])
        except (OSError, ValueError):
            pass  # closed by `end`


def command_lines(pids: list[int]) -> str:
    """Return these processes as "pid (command line)", for an error."""
    return ", ".join(f"{pid} ({_command_line(pid)})" for pid in pids)


def _command_line(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().replace(b"\0", b" ").decode(errors="replace").strip()[:120] or "?"
    except OSError:
        return "gone"


def _left_s(deadline_ns: int) -> float:
    return max(0.0, (deadline_ns - now_ns()) / 1e9)

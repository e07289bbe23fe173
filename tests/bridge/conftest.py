"""What the tests of the bridge share: workers that are real processes, made to misbehave, and gone afterwards."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from poolproof.bridge.machine.procfs import pid_space, start_ticks
from poolproof.bridge.processes.channel import Channel
from poolproof.bridge.processes.output.stderr import StderrDrain, StderrTail
from poolproof.bridge.processes.process import WorkerProcess
from poolproof.bridge.wire.buffers import has_buffers
from poolproof.bridge.wire.framing import HEADER_BYTES, MAX_WIRE_BYTES, encode_frame
from poolproof.bridge.wire.messages import decode_response, encode_request

HANG_GUARD_S = 120.0
LIMIT_BYTES = 16 * 1024 * 1024
QUIET_FORK = ("-W", "ignore:This process:DeprecationWarning")
"""Python 3.12 and later write a warning to stderr if a script forks beside threads, as these do on purpose."""

PRELUDE = """
import json, os, select, signal, sys, threading
def exactly(n):
    data = b""
    while len(data) < n:
        part = os.read(0, n - len(data))
        if not part:
            os._exit(0)
        data += part
    return data
def request():
    return json.loads(exactly(int.from_bytes(exactly(4), "big")))
def frame(data):
    return len(data).to_bytes(4, "big") + data
def put(data):
    while data:
        data = data[os.write(1, data):]
def success(id, result):
    return frame(json.dumps({"id": id, "success": True, "result": result}).encode())
def rest():
    threading.Event().wait()
def leave_a_stranger():
    # A child out of the worker's group that holds all of its pipes, until nobody reads the worker's stdout any more.
    if os.fork() == 0:
        os.setsid()
        poll = select.poll()
        poll.register(1, 0)
        poll.poll(20_000)
        os._exit(0)
"""


@pytest.fixture
def open_fds() -> Callable[[], dict[int, str]]:
    """The descriptors of this process and what each refers to."""

    def look() -> dict[int, str]:
        found = {}
        for fd in os.listdir("/proc/self/fd"):
            try:
                found[int(fd)] = os.readlink(f"/proc/self/fd/{fd}")
            except FileNotFoundError:
                continue  # the descriptor with which the directory itself was read
        # Without what a thread of a pool may just read of the kernel.
        return {fd: target for fd, target in found.items() if not target.startswith(("/proc/", "/sys/"))}

    return look


@pytest.fixture
def fake() -> Callable[[str], tuple[str, ...]]:
    """The command of a worker whose program is `body`, with the words of the prelude at hand."""
    return lambda body: (sys.executable, "-S", "-c", PRELUDE + body)


@pytest.fixture
def spawn() -> Iterator[Callable[..., WorkerProcess]]:
    """Start workers; they are killed, reaped and closed at the end."""
    begun: list[WorkerProcess] = []

    def start(*command: str, worker_id: int = 1, env: dict[str, str] | None = None) -> WorkerProcess:
        process = WorkerProcess.spawn(worker_id, command, os.environ | (env or {}))
        begun.append(process)
        return process

    yield start
    for process in begun:
        process.kill()
        assert process.exited(HANG_GUARD_S)
        assert process.reap()
        process.close()


@pytest.fixture
def drain() -> Iterator[StderrDrain]:
    """A drain of its own."""
    drain = StderrDrain("test")
    yield drain
    drain.close()


@pytest.fixture
def connect(
    drain: StderrDrain, spawn: Callable[..., WorkerProcess], fake: Callable[[str], tuple[str, ...]]
) -> Callable[..., Channel]:
    """A channel to a new worker whose program is the given body."""

    def start(body: str, *, limit_bytes: int = LIMIT_BYTES) -> Channel:
        process = spawn(*fake(body))
        tail = StderrTail(ring_bytes=64 * 1024)
        drain.watch(process.stderr_fd, tail)
        return Channel(process, tail, limit_bytes=limit_bytes)

    return start


class Speaker:
    """Speaks the wire to a worker program that was started as any program is."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._next_id = 0

    def send(self, payload: bytes) -> None:
        """One frame with these bytes."""
        self.send_raw(encode_frame(payload))

    def send_raw(self, data: bytes) -> None:
        """These bytes."""
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def receive(self) -> Any:
        """The next response as JSON; None at the end of the stream."""
        assert self.process.stdout is not None
        header = self.process.stdout.read(HEADER_BYTES)
        if not header:
            return None
        payload = self.process.stdout.read(int.from_bytes(header, "big"))
        if has_buffers(payload):
            response = decode_response(payload)
            return {"id": response.id, "success": response.success, "result": response.result}
        return msgspec.json.decode(payload)

    def ask(self, command: str, **args: Any) -> Any:
        """Send a request and give the whole response, which must carry its id."""
        self._next_id += 1
        self.send_raw(bytes(encode_request(self._next_id, command, args, limit_bytes=MAX_WIRE_BYTES)))
        response = self.receive()
        assert response["id"] == self._next_id
        return response

    def result(self, command: str, **args: Any) -> Any:
        """The content of `result` of a success."""
        response = self.ask(command, **args)
        assert response["success"], response
        return response["result"]

    def error(self, command: str, **args: Any) -> str:
        """The text of a failure."""
        response = self.ask(command, **args)
        assert not response["success"], response
        return response["error"]


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Callable[..., Speaker]]:
    """Start the shipped worker program as a real process; its stderr goes to `worker.stderr`.

    `before` is Python that runs before it, as a program with handlers of its own does.
    """
    begun: list[subprocess.Popen[bytes]] = []
    guards: list[threading.Timer] = []

    def start(*words: str, env: dict[str, str] | None = None, stderr: Any = None, before: str = "") -> Speaker:
        begin = f"{before}\nimport sys\nfrom poolproof.bridge.worker.program import main\nsys.exit(main())"
        with (tmp_path / "worker.stderr").open("ab") as log:
            process = subprocess.Popen(
                [
                    sys.executable,
                    *(["-c", begin] if before else ["-m", "poolproof.bridge.worker.program"]),
                    "--worker-id",
                    "7",
                    *words,
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr or log,
                env=os.environ | (env or {}),
            )
        begun.append(process)
        guard = threading.Timer(HANG_GUARD_S, process.kill)  # a reader that waits in vain then meets the stream's end
        guard.daemon = True
        guard.start()
        guards.append(guard)
        return Speaker(process)

    yield start
    for guard in guards:
        guard.cancel()
    for process in begun:
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # bytes that the worker never read
            process.stdin.close()
        process.stdout.close()
        try:
            process.wait(HANG_GUARD_S)  # a worker leaves by itself
        finally:
            process.kill()


@pytest.fixture
def run_script(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a Python program of its own, with its output as text; it is ended after the test."""
    begun: list[subprocess.Popen[str]] = []

    def start(source: str, *words: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        path = tmp_path / f"script{len(begun)}.py"
        path.write_text(source)
        process = subprocess.Popen(
            [sys.executable, *QUIET_FORK, str(path), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | (env or {}),
        )
        begun.append(process)
        return process

    yield start
    for process in begun:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=HANG_GUARD_S)


@pytest.fixture
def runtime_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory for run directories that only this test uses; programs that it starts inherit it."""
    path = tmp_path / "runtime"
    path.mkdir(mode=0o700)
    monkeypatch.setenv("POOLPROOF_RUNTIME_DIR", str(path))
    return path


@pytest.fixture
def dead_process() -> tuple[int, int]:
    """The pid and start of a process that is gone."""
    process = subprocess.Popen(["sleep", "60"])
    ticks = start_ticks(process.pid)
    assert ticks is not None
    process.kill()
    process.wait(HANG_GUARD_S)
    return process.pid, ticks


@pytest.fixture
def orphan() -> Iterator[Callable[[], tuple[int, int]]]:
    """Start a process that leads its own group, as a worker whose owner died; its pid and start."""
    begun: list[subprocess.Popen[bytes]] = []

    def start() -> tuple[int, int]:
        process = subprocess.Popen(["sleep", "60"], process_group=0)
        begun.append(process)
        ticks = start_ticks(process.pid)
        assert ticks is not None
        return process.pid, ticks

    yield start
    for process in begun:
        process.kill()
        process.wait(HANG_GUARD_S)


@pytest.fixture
def dead_pool(runtime_dir: Path, dead_process: tuple[int, int]) -> Callable[..., Path]:
    """Make the run directory of a pool whose owner is gone, with the given lines about its workers."""

    def make(name: str, workers: str = "", *, manifest: bytes | None = None) -> Path:
        path = runtime_dir / "pools" / name
        path.mkdir(parents=True)
        pid, ticks = dead_process
        record = {
            "name": name,
            "version": "v9",
            "pid": pid,
            "start_ticks": ticks,
            "created_at": "2020-01-01",
            "pid_space": pid_space(),
        }
        (path / "manifest.json").write_bytes(msgspec.json.encode(record) if manifest is None else manifest)
        (path / "workers").write_text(workers)
        return path

    return make

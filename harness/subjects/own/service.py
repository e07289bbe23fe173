"""A service that is started for a pool: its process, its port, and the wait until it is healthy."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from poolproof.bridge import PoolConfig, StartFailed

LOOK_EVERY_S = 0.05
END_WAIT_S = 10.0
TAIL_BYTES = 400
NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Service:
    """The process of one service. If the command line is empty, the service already runs and has no process here."""

    def __init__(self, command: str, health: str, start_timeout_s: float) -> None:
        self.port = 0
        self._command = command
        self._health = health
        self._start_timeout_s = start_timeout_s
        self._log = os.devnull
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, config: PoolConfig) -> None:
        """Start the service on a free port and wait until it is healthy. Raises StartFailed."""
        if self._command:
            with socket.create_server(("127.0.0.1", 0)) as free:
                self.port = free.getsockname()[1]
        if config.log_dir is not None:
            self._log = str(Path(config.log_dir) / "service.log")
        self.start_again()

    def start_again(self) -> None:
        """Start the service on the same port. Raises StartFailed."""
        if self._command:
            words = shlex.split(self._command.replace("{port}", str(self.port)))
            keeper = [sys.executable, "-S", "-E", str(Path(__file__).with_name("keeper.py"))]
            with open(self._log, "ab") as log:
                self._process = subprocess.Popen([*keeper, *words], stdin=subprocess.PIPE, stdout=log, stderr=log)
        if not self._health:
            return
        url = self._health.replace("{port}", str(self.port))
        end_s = time.monotonic() + self._start_timeout_s
        while (told := _ask(url)) and time.monotonic() < end_s:
            if self._process is not None and self._process.poll() is not None:
                told = f"it ended with status {self._process.returncode}: {self._tail()}"
                break
            time.sleep(LOOK_EVERY_S)
        if told:
            self.end()
            raise StartFailed(f"the service is not healthy ({url}): {told}")

    def end(self) -> None:
        """End the process by SIGTERM, and by SIGKILL if that takes too long. Idempotent."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(END_WAIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _tail(self) -> str:
        if self._log == os.devnull:
            return "it has said nothing"
        return Path(self._log).read_bytes()[-TAIL_BYTES:].decode("utf-8", "replace").strip()


def _ask(url: str) -> str:
    # What is wrong with the service; empty if it is healthy.
    try:
        with NO_PROXY.open(url, timeout=5.0) as answer:
            answer.read()
            return ""
    except (urllib.error.URLError, OSError) as error:
        return str(error)

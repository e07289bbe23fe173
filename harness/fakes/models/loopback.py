"""A model server, as its users see it: a separate process, its address, and its outages.

Knows nothing of pools. The server exits when its stdin is closed, at the latest when this process ends.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
import urllib.request
from types import TracebackType
from typing import Any, Self

import msgspec

from poolproof.bridge.config import module_command
from poolproof.bridge.processes.interpreter import environment, with_flags
from poolproof.harness.fakes.models.service import BASE_VARIABLE, KEY_VARIABLE, ModelService, Outage
from poolproof.harness.model.errors import RunError

COMMAND = module_command("poolproof.harness.fakes.models.server")
END_WAIT_S = 5.0
ASK_TIMEOUT_S = 10.0
PLACEHOLDER_KEY = "no-key-is-needed"
"""Clients of OpenAI's protocol need a key; this server accepts any key, unless its ModelService names one."""


class LoopbackModels:
    """Starts a server with this behaviour; `close` ends it. Safe from several threads.

    Raises RunError if the server cannot be started.
    """

    def __init__(self, service: ModelService | None = None) -> None:
        self.service = service or ModelService()
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            with_flags(COMMAND),
            env={**os.environ, **environment()},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            process_group=0,
            close_fds=True,
        )
        try:
            self.port = int(self._tell(msgspec.to_builtins(self.service)))
        except BaseException:
            self.close()
            raise

    @property
    def address(self) -> str:
        """The base URL for a client of OpenAI's protocol."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def pid(self) -> int:
        """The pid of the server's process."""
        return self._process.pid

    def environment(self) -> dict[str, str]:
        """The variables that a worker needs so that `configure_lm` can find this server; see `BY_ENVIRONMENT`."""
        return {BASE_VARIABLE: self.address, KEY_VARIABLE: self.service.key or PLACEHOLDER_KEY}

    def outage(self, kind: Outage | None) -> None:
        """Apply this outage to every request from now on; None ends the outage."""
        self._tell({"outage": kind})

    def stats(self) -> dict[str, int]:
        """Return the server's counts: requests, answered, failed, in_flight, most_in_flight."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/stats", timeout=ASK_TIMEOUT_S) as answer:
            counts: dict[str, int] = json.loads(answer.read())
        return counts

    def close(self) -> None:
        """End the server. Idempotent."""
        with self._lock:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            try:
                self._process.stdin.close()
            except BrokenPipeError:
                pass
            try:
                self._process.wait(END_WAIT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _tell(self, message: dict[str, Any]) -> Any:  # noqa: ANN401 - any JSON
        with self._lock:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            try:
                self._process.stdin.write(msgspec.json.encode(message) + b"\n")
                self._process.stdin.flush()
                line = self._process.stdout.readline()
            except (OSError, ValueError) as error:
                raise RunError(f"the model server cannot be told anything: {error}") from error
        if not line:
            raise RunError(f"the model server has ended with status {self._process.wait()}")
        return json.loads(line)

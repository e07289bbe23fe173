"""Finds out which commands a worker program knows, before a pool uses the program.

Knows nothing of scenarios. A command counts as unknown if its answer equals the answer to a command that cannot exist.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from poolproof.bridge import PoolConfig, PoolError, StartFailed
from poolproof.bridge.clock import deadline_ns
from poolproof.bridge.errors import ConfigError
from poolproof.bridge.processes.channel import Channel
from poolproof.bridge.processes.process_manager import ProcessManager
from poolproof.bridge.wire.messages import Response, encode_request
from poolproof.bridge.worker.journal import JOURNAL_VARIABLE
from poolproof.harness.faults.commands import fault_environment
from poolproof.harness.model.errors import UsageError

PATIENCE_S = 2.0
"""How many seconds one answer may take; a command that takes longer counts as known."""
NO_COMMAND = "no_such_command"


def known_commands(worker_command: str, commands: Iterable[str], *, start_timeout_s: float = 10.0) -> frozenset[str]:
    """Return those of `commands` that a worker started by `worker_command` knows.

    Raises UsageError if the worker does not start, or does not answer its init ping within `start_timeout_s` seconds.
    """
    return examine_worker(worker_command, commands, start_timeout_s=start_timeout_s)[0]


def examine_worker(
    worker_command: str, commands: Iterable[str], *, start_timeout_s: float = 10.0
) -> tuple[frozenset[str], bool]:
    """Return the known commands, and whether the worker keeps a journal; see known_commands."""
    with tempfile.TemporaryDirectory(prefix="poolproof-") as journals:
        options = {
            "worker_command": worker_command,
            "start_timeout_s": start_timeout_s,
            "env": {**fault_environment(), JOURNAL_VARIABLE: journals},
        }
        try:
            config = PoolConfig.from_options(options)
        except ConfigError as error:
            raise UsageError(str(error)) from error
        known = frozenset(_Probe(config).ask(commands))
        return known, any(path.stat().st_size for path in Path(journals).iterdir())


class _Probe:
    """Holds one worker at a time, and replaces it when a command has ended it."""

    def __init__(self, config: PoolConfig) -> None:
        self._config = config
        self._process_manager = ProcessManager(config, version="probe")
        self._channel: Channel | None = None
        self._number = 0

    def ask(self, commands: Iterable[str]) -> list[str]:
        try:
            refusal = self._call(NO_COMMAND)
            return [command for command in commands if not _refused(self._call(command), refusal, command)]
        finally:
            self._end()
            self._process_manager.shut_down()

    def _call(self, command: str) -> Response | None:
        # None if there was no answer: then the command had an effect, so the worker knows it.
        channel = self._channel or self._start()
        self._number += 1
        frame = encode_request(self._number, command, {}, limit_bytes=self._config.max_frame_bytes)
        try:
            return channel.exchange(self._number, frame, deadline_ns=deadline_ns(PATIENCE_S))
        except PoolError:
            self._end()
            return None

    def _start(self) -> Channel:
        try:
            self._channel = self._process_manager.spawn(self._process_manager.next_id())
            self._channel.handshake(deadline_ns=deadline_ns(self._config.start_timeout_s))
        except StartFailed as error:
            words = " ".join(self._config.command_words())
            raise UsageError(
                f"the worker command {words!r} starts no worker: {' | '.join(str(error).split(chr(10)))}"
            ) from error
        return self._channel

    def _end(self) -> None:
        if self._channel is not None:
            self._channel.process.kill()
            self._channel.process.exited(PATIENCE_S)
            self._channel.process.reap()
            self._process_manager.release(self._channel)
            self._channel = None


def _refused(response: Response | None, refusal: Response | None, command: str) -> bool:
    if response is None or response.success or refusal is None or refusal.success:
        return False
    # A worker may add a hint to the same message, such as the nearest command.
    refused = str(refusal.error).replace(NO_COMMAND, "\0")
    return str(response.error).replace(command, "\0", 1).startswith(refused)

"""Asks a worker program what it can do, before any pool is trusted with it.

Knows nothing of scenarios. A command counts as unknown if its answer is the one that a command that cannot exist gets.
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
from poolproof.harness.model.errors import UsageError

PATIENCE_S = 2.0
"""How long one answer may take; a command that takes longer is at least known."""
NO_COMMAND = "no_such_command"


def known_commands(worker_command: str, commands: Iterable[str], *, start_timeout_s: float = 10.0) -> frozenset[str]:
    """Those of `commands` that a worker started by `worker_command` knows.

    Raises UsageError if it cannot be started, or does not answer its init ping within `start_timeout_s` seconds.
    """
    return examine_worker(worker_command, commands, start_timeout_s=start_timeout_s)[0]


def examine_worker(
    worker_command: str, commands: Iterable[str], *, start_timeout_s: float = 10.0
) -> tuple[frozenset[str], bool]:
    """The same, and whether such a worker keeps a journal, as the shipped one does."""
    with tempfile.TemporaryDirectory(prefix="poolproof-") as journals:
        options = {
            "worker_command": worker_command,
            "start_timeout_s": start_timeout_s,
            "env": {JOURNAL_VARIABLE: journals},
        }
        try:
            config = PoolConfig.from_options(options)
        except ConfigError as error:
            raise UsageError(str(error)) from error
        known = frozenset(_Probe(config).ask(commands))
        return known, any(path.stat().st_size for path in Path(journals).iterdir())


class _Probe:
    """One worker at a time, replaced when a command has ended it."""

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
            self._process_manager.disband()

    def _call(self, command: str) -> Response | None:
        # None if there was no answer: then the command did something.
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
            self._process_manager.bury(self._channel)
            self._channel = None


def _refused(response: Response | None, refusal: Response | None, command: str) -> bool:
    if response is None or response.success or refusal is None or refusal.success:
        return False
    # A worker may add a hint, such as the nearest command, to the same words.
    refused = str(refusal.error).replace(NO_COMMAND, "\0")
    return str(response.error).replace(command, "\0", 1).startswith(refused)

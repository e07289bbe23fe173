"""The handshake with a starting worker: an init ping and its response, in steps that never block."""

from __future__ import annotations

import os

from poolproof.bridge.errors import ProtocolError, StartFailed
from poolproof.bridge.processes.output.stderr import StderrTail
from poolproof.bridge.processes.process import WorkerProcess
from poolproof.bridge.wire.messages import INIT_ID, decode_response, encode_request
from poolproof.bridge.wire.receiver import Receiver
from poolproof.bridge.wire.transport import Abilities

READ_BYTES = 64 * 1024
EXIT_GRACE_S = 0.1


class Handshake:
    """The init ping of one starting worker, in steps that never block.

    Any output but the response is ignored. If the worker does not start, the error says why the last ignored frame was
    ignored. The caller has one absolute deadline (F4).
    """

    __slots__ = (
        "_abilities",
        "_dropped",
        "_limit_bytes",
        "_process",
        "_receiver",
        "_tail",
        "cut",
        "done",
        "exit_grace_s",
    )

    def __init__(
        self, process: WorkerProcess, tail: StderrTail, *, limit_bytes: int, abilities: Abilities | None = None
    ) -> None:
        self._abilities = abilities or Abilities()
        self._process = process
        self._tail = tail
        self._receiver = Receiver(limit_bytes=limit_bytes)
        self._limit_bytes = limit_bytes
        self._dropped = ""
        self.exit_grace_s = EXIT_GRACE_S
        self.done = False
        self.cut = False

    def begin(self) -> None:
        """Write the ping. If the worker is already gone, `cut` becomes true."""
        try:
            os.write(self._process.stdin_fd, encode_request(INIT_ID, "ping", {}, limit_bytes=self._limit_bytes))
        except OSError:
            self.cut = True

    def advance(self) -> bool:
        """Read once, when there is something to read. Returns True once the worker responded. Raises StartFailed.

        At the end of the stream, `cut` becomes true: the caller waits for the end of the worker, and calls `failed`.
        """
        data = os.read(self._process.stdout_fd, READ_BYTES)
        if not data:
            self.cut = True
            return False
        try:
            self._receiver.feed(data)
        except ProtocolError as error:
            raise self.failed(f"sent bytes that are not a frame: {error}") from error
        while self._receiver.payloads:
            try:
                response = decode_response(self._receiver.payloads.popleft())
            except ProtocolError as error:
                self._dropped = str(error)
                continue
            if response.id != INIT_ID:
                self._dropped = f"answered request {response.id} instead of {INIT_ID}"
            else:
                if not response.success:
                    raise self.failed(f"refused its init ping: {response.error}")
                if response.takes_buffers is True:
                    self._abilities.takes_buffers = True
                self.done = True
        return self.done

    def failed(self, what: str) -> StartFailed:
        """Kill the worker, and return the error that says why it did not start. Never waits.

        What it has written to stderr until now is part of the error.
        """
        self._process.kill()
        self._process.reap(0.0)
        ended = self._process.end()
        told = ended.after(f"worker {self._process.worker_id} (pid {self._process.pid}) {what}")
        dropped = f"; the last frame that was dropped: it {self._dropped}" if self._dropped else ""
        return StartFailed(
            told + dropped,
            worker_id=self._process.worker_id,
            stderr_tail=self._tail.text(),
            ended=ended,
        )

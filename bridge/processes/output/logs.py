"""The log files of a pool's workers: limited in number and size, and without credentials.

A line is written when it is complete, so a credential that came in two pieces is found too. Credentials are what
`poolproof.bridge.redaction` finds in a text, and the values of the workers' environment that have a credential's name.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Collection
from pathlib import Path

from poolproof.bridge.redaction import hide, redact_text
from poolproof.bridge.regular_file import write_all

KEPT_LOGS = 16
"""How many logs of ended workers stay in a run directory."""
KEPT_IN_FOLDER = 256
"""How many logs of ended workers stay in a folder that the user has named."""
MOST_LOG_BYTES = 64 * 1024 * 1024
"""The maximum size of all logs of a pool together."""
MOST_LINE_BYTES = 64 * 1024
"""A longer line is written in parts, which end at a blank if possible."""
LOG_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Logs:
    """The logs of one pool in one folder: those of the living workers, and of the last `kept` ended ones.

    `folder` is a path, or a descriptor that the caller keeps open. One log has at most `file_bytes`. Together they have
    at most `most_bytes`: the logs of ended workers make room, the oldest first; without room, log data is lost.
    `secrets` returns the credentials of a worker that starts now. Not thread-safe.
    """

    def __init__(
        self,
        folder: Path | int,
        *,
        file_bytes: int,
        kept: int = KEPT_LOGS,
        most_bytes: int = MOST_LOG_BYTES,
        secrets: Callable[[], Collection[str]] = frozenset,
    ) -> None:
        self._dir_fd = folder if isinstance(folder, int) else None
        self._folder = Path() if isinstance(folder, int) else folder
        self._file_bytes = file_bytes
        self._kept = kept
        self._room_bytes = most_bytes
        self._ended: deque[tuple[str, int]] = deque()
        self.secrets = secrets

    def begin(self, name: str) -> Log:
        """Return the log `name`, whose file is created when there is something to write."""
        return Log(self, name, most_bytes=self._file_bytes)

    # These methods are called by a log.

    def take(self, wanted_bytes: int) -> int:
        """Return how many more bytes may be written, at most `wanted_bytes`."""
        while self._ended and self._room_bytes < wanted_bytes:
            self._remove_oldest()
        granted_bytes = min(wanted_bytes, self._room_bytes)
        self._room_bytes -= granted_bytes
        return granted_bytes

    def append(self, name: str, data: bytes) -> None:
        """Append to this log's file. Raises OSError."""
        fd = os.open(self._folder / name, LOG_FLAGS, 0o666, dir_fd=self._dir_fd)
        try:
            write_all(fd, data)
        finally:
            os.close(fd)

    def end(self, name: str, size_bytes: int) -> None:
        """Record that this log is complete, and how many of the bytes granted by `take` it has used."""
        self._ended.append((name, size_bytes))
        while len(self._ended) > self._kept:
            self._remove_oldest()

    def _remove_oldest(self) -> None:
        name, size_bytes = self._ended.popleft()
        self._room_bytes += size_bytes
        with contextlib.suppress(OSError):  # the user may have removed it
            os.unlink(self._folder / name, dir_fd=self._dir_fd)


class Log:
    """The log of one worker: the first bytes that it printed. `errors` counts the writes that failed."""

    def __init__(self, logs: Logs, name: str, *, most_bytes: int) -> None:
        self._logs = logs
        self._name = name
        self._room_bytes = most_bytes
        self._logged_bytes = 0
        self._line = b""
        self._secrets: Collection[str] | None = None
        self.errors = 0

    def write(self, data: bytes) -> None:
        """Append the complete lines of the output so far."""
        if self._room_bytes <= 0:
            return
        data = self._line + data
        whole = data.rfind(b"\n") + 1
        if len(data) - whole > MOST_LINE_BYTES:
            whole = max(data.rfind(b" ") + 1, whole) or len(data)
        self._line = data[whole:]
        self._put(data[:whole])

    def end(self) -> None:
        """Append the remaining output. Nothing is written afterwards."""
        self._put(self._line)
        self._line = b""
        self._room_bytes = 0
        if self._logged_bytes:
            self._logs.end(self._name, self._logged_bytes)

    def _put(self, data: bytes) -> None:
        if not data:
            return
        if self._secrets is None:
            self._secrets = self._logs.secrets()
        text = hide(data.decode("utf-8", "surrogateescape"), self._secrets)
        data = redact_text(text).encode("utf-8", "surrogateescape")[: self._room_bytes]
        self._room_bytes -= len(data)
        data = data[: self._logs.take(len(data))]
        self._logged_bytes += len(data)
        if data:
            try:
                self._logs.append(self._name, data)
            except OSError:
                self.errors += 1

"""What the workers of one pool print: read by one thread, kept for errors, logged in files, and shown.

`worker_output` says what becomes of it (`poolproof.bridge.config`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path

from poolproof.bridge.config import PoolConfig
from poolproof.bridge.errors import ConfigError
from poolproof.bridge.processes.output.logs import KEPT_IN_FOLDER, KEPT_LOGS, Logs
from poolproof.bridge.processes.output.shown import Output
from poolproof.bridge.processes.output.stderr import StderrDrain, StderrTail

SHOWN = ("forward", "log")


class Printed:
    """The output of one pool's workers.

    The logs are in `log_dir`, else in the directory `run_dir_fd`, which the caller keeps open; without both there are
    none. `secrets` returns the credentials that no log may contain.
    """

    def __init__(
        self,
        pool: str,
        config: PoolConfig,
        *,
        log_dir: Path | None,
        run_dir_fd: int | None,
        secrets: Callable[[], Collection[str]],
    ) -> None:
        self._ring_bytes = config.stderr_ring_bytes
        self._output: Output | None = None
        self._logs: Logs | None = None
        folder = run_dir_fd if log_dir is None else log_dir
        if folder is not None and config.worker_output != "drop" and config.stderr_log_bytes:
            kept = KEPT_LOGS if log_dir is None else KEPT_IN_FOLDER
            self._logs = Logs(folder, file_bytes=config.stderr_log_bytes, kept=kept, secrets=secrets)
        with contextlib.ExitStack() as opened:
            if config.worker_output in SHOWN:
                self._output = Output(pool, log=config.worker_output == "log")
                opened.callback(self._output.close)
            self._drain = StderrDrain(pool)
            opened.pop_all()

    def watch(self, fd: int, name: str) -> StderrTail:
        """Take over `fd`, the read end of the stderr of the process `name`, and read it until its end."""
        tail = StderrTail(
            ring_bytes=self._ring_bytes,
            log=None if self._logs is None else self._logs.begin(f"{name}.stderr.log"),
            show=None if self._output is None else partial(self._output.show, name),
        )
        self._drain.watch(fd, tail)
        return tail

    def close(self) -> None:
        """Read and show the remaining output, and stop. Idempotent."""
        self._drain.close()
        if self._output is not None:
            self._output.close()

    def close_in_child(self) -> None:
        """Close the descriptors in a forked child, which has none of the threads."""
        self._drain.close_in_child()


def usable_log_dir(log_dir: str | None) -> Path | None:
    """Create the folder if needed. Returns its absolute path: the current folder may change.

    Raises ConfigError, also if no file can be made there: otherwise what the workers print would be lost in silence.
    """
    if log_dir is None:
        return None
    import tempfile  # only here, since most pools have no log_dir

    path = Path(log_dir)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return path.absolute()
    except FileExistsError as error:
        raise ConfigError(f"log_dir {log_dir!r}: it is not a folder") from error
    except OSError as error:
        raise ConfigError(f"log_dir {log_dir!r}: {error.strerror}") from error

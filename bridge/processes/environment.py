"""The environment of one pool's workers: that of the process which opens the pool, its options, and the pool's own."""

from __future__ import annotations

import sys

from poolproof.bridge.config import DEFAULT_WORKER_COMMAND, THREAD_VARIABLES, PoolConfig
from poolproof.bridge.errors import ConfigError
from poolproof.bridge.machine.tree import POOL_VARIABLE, WORKER_VARIABLE, mark_of
from poolproof.bridge.processes.interpreter import (
    OUTPUT_VARIABLE,
    TERM_VARIABLE,
    WIRE_VARIABLE,
    environment,
    variables,
    with_flags,
)
from poolproof.bridge.processes.launch import STDOUT_FD, WIRE_FD
from poolproof.bridge.redaction import secrets_of
from poolproof.bridge.wire.framing import FRAME_LIMIT_VARIABLE
from poolproof.bridge.wire.replies import REPLY_DIR_VARIABLE


class Environment:
    """The command and the environment of one pool's workers.

    `mark` is the pool's mark, which whatever a worker starts inherits. `shipped`: the workers are the shipped ones.
    Raises ConfigError if this program cannot start the shipped worker.
    """

    def __init__(self, name: str, config: PoolConfig) -> None:
        self._config = config
        self._words = config.command_words()
        self.shipped = self._words == DEFAULT_WORKER_COMMAND
        if self.shipped:
            _require_interpreter()
        self.mark = mark_of(name)
        own = {FRAME_LIMIT_VARIABLE: str(config.max_frame_bytes), POOL_VARIABLE: self.mark}
        self.shares_stdout = config.worker_output == "forward" and self.shipped and config.placement is None
        """Whether workers get this process's stdout, as the descriptor STDOUT_FD."""
        if config.term_grace_s is not None:
            own[TERM_VARIABLE] = "raise"
        if config.worker_output in ("forward", "log"):
            own[OUTPUT_VARIABLE] = str(STDOUT_FD) if self.shares_stdout else "log"
        self._own = own

    def offer_replies(self, folder: str) -> None:
        """Let workers that start from now on respond through pipes in this folder."""
        self._own[REPLY_DIR_VARIABLE] = folder

    def now(self, worker_id: int | None = None) -> dict[str, str]:
        """Return the environment of a worker that starts now: with the variables and the path that this process has.

        Without `worker_id`, it is the environment of the zygote. A worker on another machine has the variables of its
        agent, and the returned ones override them.
        """
        count = self._config.threads_per_worker
        threads = {} if count is None else dict.fromkeys(THREAD_VARIABLES, str(count))
        env = threads | (variables() if self._config.placement is None else {}) | self._config.env
        for name in (OUTPUT_VARIABLE, TERM_VARIABLE, REPLY_DIR_VARIABLE, WIRE_VARIABLE, WORKER_VARIABLE):
            env.pop(name, None)  # of a pool in whose worker this pool is
        told = {} if worker_id is None else {WORKER_VARIABLE: str(worker_id)}
        return env | environment(env) | self._own | told

    def command(self) -> tuple[str, ...]:
        """Return the command that starts a worker, with this interpreter's flags if the worker is the shipped one."""
        return with_flags(self._words)

    def of_spawned(self, worker_id: int) -> tuple[dict[str, str], int]:
        """Return the environment of a worker that is started by its command, and the descriptor for its responses."""
        env = self.now(worker_id)
        return (env | {WIRE_VARIABLE: str(WIRE_FD)}, WIRE_FD) if self.shipped else (env, 1)

    def secrets(self) -> set[str]:
        """Return the credentials of a worker that starts now."""
        return secrets_of(self.now())


def _require_interpreter() -> None:
    # A frozen application would start itself as a worker.
    if getattr(sys, "frozen", False) or not sys.executable:
        what = "this application is frozen" if sys.executable else "this program has no Python interpreter"
        raise ConfigError(
            f"worker_command {' '.join(DEFAULT_WORKER_COMMAND)!r}: {what}, so {sys.executable!r} cannot run the "
            "default worker; set worker_command to a command that runs `python -P -m poolproof.bridge.worker.program`"
        )

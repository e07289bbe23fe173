"""The options of a pool, validated as one record, so that a pool with invalid options is never built.

Pure. Raises ConfigError for an unknown or invalid option; the message gives the option, its value and the limit.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Mapping
from typing import Any, Self

import msgspec

from poolproof.bridge.errors import ConfigError
from poolproof.bridge.placement import Placement
from poolproof.bridge.redaction import redact_command, redact_text, redact_words
from poolproof.bridge.suggestion import did_you_mean

NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}")


def module_command(module: str, *words: str) -> tuple[str, ...]:
    """The command that runs a module of this package.

    `-P` keeps the current folder off the module path, because a file there may have the name of any module. The child
    also needs the environment of `bridge.processes.interpreter`.
    """
    return (sys.executable, "-P", "-m", module, *words)


DEFAULT_WORKER_COMMAND = module_command("poolproof.bridge.worker.program", "--worker-id", "{worker_id}")
STATE_COMMANDS = frozenset({"put", "append", "delete", "configure_lm", "create_program", "delete_program"})
"""The commands of the shipped worker that change a session's state."""
MOST_CPUS = 1024
THREAD_VARIABLES = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"),
    *("NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS"),
)
"""The environment variables that limit the threads of numerical libraries."""
OUTPUTS = (None, "forward", "log", "keep", "drop")
LOCAL_OPTIONS = ("zygote", "preload", "worker_cpus", "max_memory_bytes")
"""The options that need the workers on this machine."""
IDLE_ORDERS = (None, "rotate", "hot")
AFFINITIES = ("strict", "prefer", "none")
OPTIONAL_DURATIONS = (
    "call_timeout_s",
    "checkout_timeout_s",
    "idle_timeout_s",
    "max_age_s",
    "ping_interval_s",
    "session_ttl_s",
    "term_grace_s",
)


class PoolConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Options of both pools. Durations are seconds, sizes bytes; None means the pool's own default or no limit.

    `worker_command` is a sequence, or one string that is split like shell words (no shell runs); `{worker_id}` in it is
    replaced by the worker's id. `env` is added to this process's environment.
    `state_commands` are the commands that change a session's state; a handover repeats them. `snapshot_commands` are
    the command that returns a session's whole state and the command that restores it; such a snapshot replaces a full
    log. If a worker does not know these commands, the request for a snapshot has no effect.
    `term_grace_s` is how long before the deadline of a call its worker gets SIGTERM, which it can catch; at the
    deadline, it is killed. In the shipped worker, SIGTERM then raises SoftTimeout in the handler that runs.
    `min_workers` is the size to which an idle pool shrinks, after `idle_timeout_s`. `max_age_s` limits a worker's age;
    workers are retired a little earlier, each at a different age. `ping_interval_s` is the idle time after which a
    worker gets a health check.
    With `zygote`, one warm process that has imported the modules of `preload` forks the workers; `preload` implies
    `zygote`. A zygote can only fork the default worker. The time for the imports counts as part of the first workers'
    start.
    `worker_cpus` are the numbers of the processors that workers may run on (default: those of the process that opens
    the pool).
    `max_memory_bytes` is looked at between calls. `hard_memory_bytes` is a limit of the kernel (RLIMIT_DATA) on the
    private memory of each process of a worker: an allocation beyond it fails within the call, in Python with a
    MemoryError.
    `threads_per_worker` is the number of threads that numerical libraries start in a worker (`THREAD_VARIABLES`); a
    variable that is set already, in `env` or in this process's environment, keeps its value.
    `worker_output` is what becomes of what workers print: "forward" (to this process's stdout and stderr), "log" (one
    record a line, by the logger `poolproof.workers`), "keep" (in the files of `log_dir` or of the pool's run
    directory), or "drop". None means "keep" for pools and "forward" for PoolExecutor. The last lines of stderr are part
    of the error of a worker that dies in any case.
    `idle_order` is "rotate" (the worker that was idle longest serves next, so that all workers are used equally) or
    "hot" (the worker that served last serves next, because its caches are warm). None means "rotate" for pools and
    "hot" for PoolExecutor.
    `placement` says where the workers run, if not on this machine: `Agents` or `Ray`; not with the `LOCAL_OPTIONS`.
    Then nothing is shared through memory.
    """

    name: str | None = None
    workers: int = 4
    overflow: int = 0
    lazy: bool = False
    max_queue: int | None = None
    call_timeout_s: float | None = None
    checkout_timeout_s: float | None = None
    term_grace_s: float | None = None
    start_timeout_s: float = 10.0
    close_grace_s: float = 5.0
    worker_command: tuple[str, ...] | str = DEFAULT_WORKER_COMMAND
    env: dict[str, str] = {}
    zygote: bool = False
    preload: tuple[str, ...] = ()
    worker_cpus: tuple[int, ...] | None = None
    threads_per_worker: int | None = None
    max_frame_bytes: int = 128 * 1024 * 1024
    shared_memory_bytes: int = 256 * 1024 * 1024
    stderr_ring_bytes: int = 64 * 1024
    stderr_log_bytes: int = 16 * 1024 * 1024
    log_dir: str | None = None
    worker_output: str | None = None
    min_workers: int | None = None
    idle_timeout_s: float | None = None
    max_requests: int | None = None
    max_age_s: float | None = None
    max_memory_bytes: int | None = None
    hard_memory_bytes: int | None = None
    ping_interval_s: float | None = None
    ping_timeout_s: float = 5.0
    max_idle_pings: int = 1
    idle_order: str | None = None
    start_failures_to_open: int = 5
    circuit_reset_s: float = 2.0
    state_commands: frozenset[str] = STATE_COMMANDS
    session_log_bytes: int = 4 * 1024 * 1024
    session_affinity: str = "strict"
    session_ttl_s: float | None = None
    snapshot_commands: tuple[str, str] | None = ("snapshot_session", "restore_session")
    placement: Placement | None = None

    def __post_init__(self) -> None:
        if self.name is not None and not (isinstance(self.name, str) and NAME_PATTERN.fullmatch(self.name)):
            raise ConfigError(
                f"name {self.name!r}: must be 1 to 120 letters, digits, '.', '_' or '-', and begin "
                "with a letter or a digit"
            )
        _whole("workers", self.workers, least=1, most=1024)
        _whole("overflow", self.overflow, least=0, most=1024)
        _whole("max_frame_bytes", self.max_frame_bytes, least=1024, most=2**32 - 1)  # an init ping fits
        _whole("shared_memory_bytes", self.shared_memory_bytes, least=0, most=2**40)
        _whole("stderr_ring_bytes", self.stderr_ring_bytes, least=0, most=2**30)
        _whole("stderr_log_bytes", self.stderr_log_bytes, least=0, most=2**40)
        _whole("session_log_bytes", self.session_log_bytes, least=0, most=2**40)
        _whole("start_failures_to_open", self.start_failures_to_open, least=1, most=10**6)
        if self.max_queue is not None:
            _whole("max_queue", self.max_queue, least=0, most=10**9)
        if self.max_requests is not None:
            _whole("max_requests", self.max_requests, least=1, most=10**12)
        if self.min_workers is not None:
            _whole("min_workers", self.min_workers, least=0, most=self.workers)
        if self.max_memory_bytes is not None:
            _whole("max_memory_bytes", self.max_memory_bytes, least=2**20, most=2**50)
        if self.threads_per_worker is not None:
            _whole("threads_per_worker", self.threads_per_worker, least=1, most=MOST_CPUS)
        if self.hard_memory_bytes is not None:
            _whole("hard_memory_bytes", self.hard_memory_bytes, least=2**24, most=2**50)
        _whole("max_idle_pings", self.max_idle_pings, least=1, most=1024)
        if self.session_affinity not in AFFINITIES:
            raise ConfigError(f"session_affinity {self.session_affinity!r}: must be one of {', '.join(AFFINITIES)}")
        if self.worker_output not in OUTPUTS:
            raise ConfigError(f"worker_output {self.worker_output!r}: must be None or one of {', '.join(OUTPUTS[1:])}")
        if self.idle_order not in IDLE_ORDERS:
            raise ConfigError(f"idle_order {self.idle_order!r}: must be None or one of {', '.join(IDLE_ORDERS[1:])}")
        pair = self.snapshot_commands
        if pair is not None and not (
            isinstance(pair, tuple | list) and len(pair) == 2 and all(isinstance(name, str) and name for name in pair)
        ):
            raise ConfigError(f"snapshot_commands {pair!r}: must be None or two command names")
        for option in ("start_timeout_s", "close_grace_s", "circuit_reset_s", "ping_timeout_s"):
            duration(option, getattr(self, option))
        for option in OPTIONAL_DURATIONS:
            if getattr(self, option) is not None:
                duration(option, getattr(self, option))
        if (self.term_grace_s or 0.0) >= (self.call_timeout_s or float("inf")):
            raise ConfigError(
                f"term_grace_s {self.term_grace_s!r}: must be less than call_timeout_s {self.call_timeout_s!r}"
            )
        if not isinstance(self.lazy, bool):
            raise ConfigError(f"lazy {self.lazy!r}: must be True or False")
        if not isinstance(self.worker_command, str | tuple | list):
            raise ConfigError(f"worker_command {self._told_command()}: must be a string or a sequence of words")
        words = self.command_words()
        if not words or not all(isinstance(word, str) and word and "\0" not in word for word in words):
            raise ConfigError(f"worker_command {self._told_command()}: must have at least one word, and no empty word")
        if not isinstance(self.zygote, bool):
            raise ConfigError(f"zygote {self.zygote!r}: must be True or False")
        if not isinstance(self.preload, tuple | list) or not all(_module_name(name) for name in self.preload):
            raise ConfigError(f"preload {self.preload!r}: must be a sequence of module names")
        if self.uses_zygote and words != DEFAULT_WORKER_COMMAND:
            option = f"preload {self.preload!r}" if self.preload else f"zygote {self.zygote!r}"
            raise ConfigError(
                f"{option} with worker_command {self._told_command()}: a zygote forks the default worker only"
            )
        if self.worker_cpus is not None and not _processors(self.worker_cpus):
            raise ConfigError(
                f"worker_cpus {self.worker_cpus!r}: must be None or numbers of processors, 0 to {MOST_CPUS - 1}"
            )
        if not isinstance(self.env, dict) or not all(_variable(k, v) for k, v in self.env.items()):
            raise ConfigError(
                f"env {_bad_variable(self.env)}: names and values must be strings without NUL, and names "
                "must not contain '='"
            )
        if self.log_dir is not None and not (
            isinstance(self.log_dir, str) and self.log_dir and "\0" not in self.log_dir
        ):
            raise ConfigError(f"log_dir {self.log_dir!r}: must be None or a path")
        commands = self.state_commands
        if not isinstance(commands, frozenset | set) or not all(isinstance(command, str) for command in commands):
            raise ConfigError(f"state_commands {commands!r}: must be a set of command names")
        if self.placement is not None:
            if not isinstance(self.placement, Placement):
                raise ConfigError(f"placement of the type {type(self.placement).__name__}: must be None, Agents or Ray")
            self.require_defaults(LOCAL_OPTIONS, pool="a pool with a placement")

    @property
    def uses_zygote(self) -> bool:
        """Whether a zygote forks the workers."""
        return self.zygote or bool(self.preload)

    def command_words(self) -> tuple[str, ...]:
        """Return the worker command as words. Raises ConfigError if a string has an unclosed quote."""
        if not isinstance(self.worker_command, str):
            return tuple(self.worker_command)
        try:
            return tuple(shlex.split(self.worker_command))
        except ValueError as error:
            raise ConfigError(f"worker_command {self._told_command()}: {error}") from error

    def _told_command(self) -> str:
        # For an error: without the credentials in options such as --api-key.
        command: object = self.worker_command
        if isinstance(command, str):
            return repr(redact_command(command))
        if isinstance(command, tuple | list) and all(isinstance(word, str) for word in command):
            return repr(type(command)(redact_words(command)))
        return f"of the type {type(command).__name__}"

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """Build from names and values. Raises ConfigError for an unknown option and suggests the nearest one."""
        known = {field.name for field in msgspec.structs.fields(cls)}
        for option in options:
            if option not in known:
                raise ConfigError(f"unknown option {option!r}{did_you_mean(str(option), known)}")
        return cls(**options)

    def require_defaults(self, options: tuple[str, ...], *, pool: str) -> None:
        """Raise ConfigError for the first of `options` that is set although `pool` does not support it."""
        for field in msgspec.structs.fields(self):
            default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
            if field.name in options and getattr(self, field.name) != default:
                raise ConfigError(f"{pool} does not support the option {field.name!r}")


def duration(option: str, *values: float | None) -> float:
    """Return the first of `values` that is not None, in seconds. Raises ConfigError unless 0 < value <= one year."""
    value = next((value for value in values if value is not None), None)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 366 * 86400:
        raise ConfigError(f"{option} {value!r}: must be a number of seconds above 0 and at most one year")
    return value


def _module_name(name: object) -> bool:
    return isinstance(name, str) and all(part.isidentifier() for part in name.split("."))


def _processors(numbers: object) -> bool:
    if not isinstance(numbers, tuple | list | set | frozenset | range) or not numbers:
        return False
    return all(isinstance(cpu, int) and not isinstance(cpu, bool) and 0 <= cpu < MOST_CPUS for cpu in numbers)


def _bad_variable(env: object) -> str:
    # Which variable is wrong; its value may be a credential.
    if not isinstance(env, dict):
        return f"of the type {type(env).__name__}"
    name = next(name for name, value in env.items() if not _variable(name, value))
    shown = repr(redact_text(name)) if isinstance(name, str) else f"of the type {type(name).__name__}"
    return f"with the variable {shown} of a {type(env[name]).__name__}"


def _variable(name: object, value: object) -> bool:
    if not isinstance(name, str) or not isinstance(value, str):
        return False
    return bool(name) and "=" not in name and "\0" not in name + value


def _whole(option: str, value: int, *, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ConfigError(f"{option} {value!r}: must be a whole number from {least} to {most}")

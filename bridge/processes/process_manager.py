"""The worker processes of one pool: starts them, records them in the pool's run directory, and cleans up after them.

Makes no decisions: the pool decides when to start or end a worker.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import logging
import os
import weakref

from poolproof.bridge.clock import CLOCK, deadline_ns, now_ns
from poolproof.bridge.config import PoolConfig
from poolproof.bridge.errors import ConfigError, PoolClosed
from poolproof.bridge.machine.patched import require_real_threads
from poolproof.bridge.machine.processors import usable_cpus
from poolproof.bridge.processes.channel import Channel
from poolproof.bridge.processes.environment import Environment
from poolproof.bridge.processes.launch import limit_memory
from poolproof.bridge.processes.output.printed import Printed, usable_log_dir
from poolproof.bridge.processes.process import WorkerProcess, kill_living
from poolproof.bridge.processes.rundir.rundir import RunDir
from poolproof.bridge.processes.strays import Strays
from poolproof.bridge.processes.zygote.zygote import Zygote, abandon_all
from poolproof.bridge.safe_text import one_line
from poolproof.bridge.wire.transport import Abilities, Figures, Transport

END_STRAYS_S = 1.0
LOOK_S = 0.002
logger = logging.getLogger(__name__)
_counter = itertools.count(1)
_LIVING: weakref.WeakSet[ProcessManager] = weakref.WeakSet()


def unique_name(version: str) -> str:
    """Return a pool name that is unique on this machine: version, pid, counter and 32 random bits."""
    return f"{version}-{os.getpid()}-{next(_counter)}-{os.urandom(4).hex()}"


class ProcessManager:
    """Owns the pool's name, its run directory, the drain of its workers' stderr, and its zygote if it has one.

    A pool that was given no name also works where no run directory can be made: then `poolproof ps` does not list it,
    and there are no logs and reply pipes. Raises PoolNameConflict if a living pool has the name, and ConfigError if
    this program cannot start the default worker or has no real threads. Worker ids are never reused.
    """

    def __init__(self, config: PoolConfig, *, version: str) -> None:
        require_real_threads()
        self.name = config.name or unique_name(version)
        self._config = config
        self._owner_pid = os.getpid()
        self.in_child = False
        self._is_shut_down = False
        self._ids = itertools.count(1)
        self._environment = Environment(self.name, config)
        self._ended: list[WorkerProcess] = []
        log_dir = usable_log_dir(config.log_dir)
        self._cpus = usable_cpus(config.worker_cpus)
        self._run_dir = self._claim(version)
        self.reply_dir = ""
        """The directory of the reply pipes (`poolproof.bridge.wire.replies`); empty if there can be none."""
        shipped, here = self._environment.shipped, config.placement is None
        most = config.workers + config.overflow
        kept_bytes = config.shared_memory_bytes // most if shipped and here else 0
        self.abilities = Abilities(takes_buffers=shipped, most_kept_bytes=kept_bytes)
        self.zygote: Zygote | None = None
        with contextlib.ExitStack() as opened:
            if self._run_dir is not None:
                opened.callback(self._run_dir.release)
                if shipped and here:
                    self.reply_dir = str(self._run_dir.make_reply_dir())
                    self._environment.offer_replies(self.reply_dir)
            self._printed = Printed(
                self.name,
                config,
                log_dir=log_dir,
                run_dir_fd=None if self._run_dir is None else self._run_dir.fd,
                secrets=self._environment.secrets,
            )
            opened.callback(self._printed.close)
            self._strays = Strays(self.name, self._environment.mark)
            opened.callback(self._strays.close)
            if config.uses_zygote:  # started early, so that it is warm when the first worker is needed
                self.zygote = Zygote(
                    self.name,
                    self._environment.now(),
                    tuple(config.preload),
                    cpus=self._cpus,
                    share_stdout=self._environment.shares_stdout,
                    watch_stderr=lambda fd: self._printed.watch(fd, "zygote"),
                    on_fork=self._on_fork,
                )
            opened.pop_all()
        _LIVING.add(self)

    def _claim(self, version: str) -> RunDir | None:
        # Nobody else can want a name that this process has just drawn, so such a pool also works without a directory:
        # on a read-only file system, on a full disk, or where the directory is not safe.
        try:
            return RunDir.claim(self.name, version=version)
        except ConfigError as error:
            if self._config.name is not None:
                raise
            logger.warning("pool %s works without a run directory: %s", self.name, one_line(error))
            return None

    def _add_worker(self, worker_id: int, pid: int) -> None:
        if self._run_dir is not None:
            self._run_dir.add_worker(pid)
        self._strays.worker_started(worker_id, pid)

    def open_figures(self) -> Figures | None:
        """Return where others ask for the pool's figures; None if nobody can, since there is no run directory."""
        return None if self._run_dir is None else self._run_dir.open_figures()

    def next_id(self) -> int:
        """Return an unused worker id."""
        return next(self._ids)

    def spawn(self, worker_id: int) -> Channel:
        """Start one worker process; its init ping is still to be done. Raises StartFailed.

        With a zygote the worker is only requested, so that the caller does not wait for an import: its pid may still be
        0.
        """
        process: WorkerProcess
        if self.zygote is not None:
            process = self.zygote.spawn(worker_id, self._environment.now(worker_id))
        else:
            env, answers_fd = self._environment.of_spawned(worker_id)
            process = WorkerProcess.spawn(
                worker_id,
                self._environment.command(),
                env,
                answers_fd=answers_fd,
                cpus=self._cpus,
                memory_bytes=self._config.hard_memory_bytes,
                share_stdout=self._environment.shares_stdout,
            )
            self._add_worker(worker_id, process.pid)
        tail = self._printed.watch(process.stderr_fd, f"worker-{worker_id}")
        return Channel(process, tail, limit_bytes=self._config.max_frame_bytes, abilities=self.abilities)

    def _on_fork(self, worker_id: int, pid: int) -> None:
        self._add_worker(worker_id, pid)
        with contextlib.suppress(ProcessLookupError):
            limit_memory(pid, self._config.hard_memory_bytes)

    def release(self, transport: Transport) -> None:
        """Close the parent's descriptors of a reaped worker, and drop its record. No thread may be using it."""
        if transport.pid and self._run_dir is not None:  # without a pid it was never forked
            self._run_dir.remove_worker(transport.pid)
        transport.close()
        if isinstance(transport, Channel):
            self._ended.append(transport.process)
            if transport.pid:
                self._strays.worker_ended(transport.process.worker_id)

    def tidy(self, wait_s: float = 0.0) -> None:
        """Reap the orphans of ended workers that this program has adopted; wait for that at most `wait_s` seconds."""
        deadline = deadline_ns(wait_s)
        while self._ended:
            self._ended = [process for process in self._ended if not process.reap_adopted()]
            if not self._ended or now_ns() >= deadline:
                return
            CLOCK.sleep(LOOK_S)

    def shut_down(self) -> None:
        """Release the pool's name, after all workers are reaped. Idempotent.

        What workers have started is ended too, in whatever session it runs; what cannot be ended is logged.
        """
        if not self._is_shut_down:
            self._is_shut_down = True
            if self.zygote is not None:
                self.zygote.close()
            self._strays.close()
            self.tidy(END_STRAYS_S)
        self._printed.close()
        if self._run_dir is not None:
            self._run_dir.release()

    def require_owner(self) -> None:
        """Raise PoolClosed in a forked child, whose copy of the pool owns nothing."""
        if self.in_child:
            raise PoolClosed(f"pool {self.name!r} belongs to process {self._owner_pid}, not to its forked child")

    def _leave_at_exit(self) -> None:
        # The interpreter exits while the pool is open. The lifeline would end the workers, but not remove the
        # directory.
        if not self._is_shut_down and os.getpid() == self._owner_pid:
            kill_living()
            self._strays.kill_all()
            self._strays.remove_groups()
            if self._run_dir is not None:
                self._run_dir.remove()

    def _abandon_in_child(self) -> None:
        # Closes only this copy's descriptors; the parent's resources are not affected.
        self.in_child = True
        if not self._is_shut_down:
            self._is_shut_down = True  # a fork of this fork has nothing left to close
            self._printed.close_in_child()


def _after_fork_in_child() -> None:
    for process_manager in list(_LIVING):
        process_manager._abandon_in_child()


def _at_exit() -> None:
    abandon_all()
    for process_manager in list(_LIVING):
        process_manager._leave_at_exit()


os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(_at_exit)

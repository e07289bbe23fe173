"""What a pool uses of its machine: the clock, processes, threads, locks and waits.

Every wait of a pool that is not a step of a call goes through here, so a simulation can run a pool in one thread.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import threading
from collections.abc import Callable

from poolproof.bridge import PoolConfig
from poolproof.bridge.clock import CLOCK, Clock
from poolproof.bridge.processes.process_manager import ProcessManager
from poolproof.bridge.wire.transport import Processes
from poolproof.pool_v2.calls.io import THREAD, ClientIo
from poolproof.pool_v2.calls.replies import Replies


class Watch:
    """Waits until a descriptor becomes readable, `wake` is called, or a time has passed. Used by one thread."""

    def __init__(self) -> None:
        self._reactions: dict[int, Callable[[], object]] = {}
        with contextlib.ExitStack() as opened:
            self._epoll = opened.enter_context(select.epoll())
            self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            opened.callback(os.close, self._wake)
            self._epoll.register(self._wake, select.EPOLLIN)
            opened.pop_all()
        self._lock = threading.Lock()  # a late `wake` must not write to a descriptor number that was reused since
        self._closed = False

    def add(self, fd: int, react: Callable[[], object]) -> None:
        """Call `react` in `wait` whenever `fd` is readable."""
        self._reactions[fd] = react
        self._epoll.register(fd, select.EPOLLIN)

    def remove(self, fd: int) -> None:
        """Stop watching `fd`, if it is watched."""
        if self._reactions.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def wait(self, timeout_s: float) -> None:
        """Wait at most `timeout_s` seconds, and call what reacts to the readable descriptors."""
        for fd, _ in self._epoll.poll(max(timeout_s, 0.0)):
            if fd == self._wake:
                os.eventfd_read(self._wake)
            elif fd in self._reactions:
                self._reactions[fd]()

    def wake(self) -> None:
        """End the current or the next wait. May be called from any thread, also after `close`."""
        with self._lock:
            if not self._closed:
                os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        """Close the descriptors. Idempotent."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._epoll.close()
                os.close(self._wake)

    def close_in_child(self) -> None:
        """Close this copy's descriptors in a forked child."""
        self._lock = threading.Lock()  # the thread that held it is in the parent
        self.close()


class Jobs:
    """Runs jobs one after another, in a thread that starts with the first job."""

    def __init__(self, name: str, run: Callable[[Callable[[], object]], None]) -> None:
        """`run` runs one job; it must not raise."""
        self._name = name
        self._run_one = run
        self._jobs: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._stopped = False

    def post(self, job: Callable[[], object]) -> None:
        """Queue a job. May be called from any thread. After `stop` only a further `stop` runs it."""
        self._jobs.put(job)
        if self._thread is None and not self._stopped:
            with self._lock:
                if self._thread is None:
                    thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                    thread.start()
                    self._thread = thread

    def stop(self, timeout_s: float) -> None:
        """Run the remaining jobs, and end the thread. Waits at most `timeout_s` seconds for a job. May be repeated."""
        self._stopped = True
        self._jobs.put(None)
        self._jobs.put(None)  # a second end mark, for the case below
        if self._thread is threading.current_thread():
            self._run()  # a job closes the pool: run the remaining jobs here
        elif self._thread is not None:
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                return  # a job hangs; those behind it are lost
        with contextlib.suppress(queue.Empty):
            while True:
                job = self._jobs.get_nowait()
                if job is not None:
                    self._run_one(job)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            self._run_one(job)


class Platform:
    """The machine of a pool. `io`: how the pool's own threads wait for a worker."""

    clock: Clock = CLOCK
    io: ClientIo = THREAD
    lock: Callable[[], threading.Lock] = staticmethod(threading.Lock)
    condition: Callable[[threading.Lock], threading.Condition] = staticmethod(threading.Condition)
    watch: Callable[[], Watch] = Watch
    jobs: Callable[[str, Callable[[Callable[[], object]], None]], Jobs] = Jobs
    replies: Callable[[str], Replies] = Replies

    def processes(self, config: PoolConfig) -> Processes:
        """Return the pool's worker processes."""
        if config.placement is not None:
            from poolproof.bridge.remote.manager import RemoteProcessManager

            return RemoteProcessManager(config, config.placement, version="v2")
        return ProcessManager(config, version="v2")

    def thread(self, target: Callable[[], object], name: str) -> threading.Thread:
        """Return a new thread of the pool, not started yet."""
        return threading.Thread(target=target, name=name, daemon=True)


MACHINE = Platform()

"""The simulated platform of a pool: its locks, threads, waits, jobs, reply pipes and processes, in one thread.

What a pool would do in threads of its own (its supervisor, its housekeeper's jobs, the delivery of events) are steps of
the scheduler; a wait inside such a step makes other steps until it is over.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import cast

from poolproof.bridge import PoolConfig, StartFailed
from poolproof.bridge.wire.transport import Abilities, Processes, Transport
from poolproof.harness.simulation.io import BlockingIo
from poolproof.harness.simulation.plan import MS, Plan
from poolproof.harness.simulation.state import State
from poolproof.harness.simulation.transport import SimPipe, SimTransport
from poolproof.harness.simulation.workers import SimWorker
from poolproof.pool_v2.calls.io import ClientIo
from poolproof.pool_v2.calls.replies import Replies
from poolproof.pool_v2.core.ticket import Ticket
from poolproof.pool_v2.running.platform import Jobs, Platform, Watch

MOST_PIPES = 4


class SimLock:
    """A lock of the pool. At a lock the scheduler may let another step come first, or interrupt the client."""

    def __init__(self, world: State) -> None:
        self._world = world
        self._held = False

    def __enter__(self) -> bool:
        world = self._world
        if world.points:
            world.point()
            points, world.points = world.points, 0  # an interrupt is for this client only
            world.scheduler.preempt()
            world.points = points
        else:
            world.scheduler.preempt()
        assert not self._held, "a thread takes a lock that it holds"
        self._held = True
        return True

    def __exit__(self, *_: object) -> None:
        self._held = False
        if self._world.points:
            self._world.point()

    acquire = __enter__

    def release(self) -> None:
        """Release the lock, as `threading.Lock.release`."""
        self._held = False


class SimCondition:
    """A condition variable of the pool; a wait carries out other steps meanwhile."""

    def __init__(self, world: State, lock: SimLock) -> None:
        self._world = world
        self._lock = lock
        self._news = 0

    def notify_all(self) -> None:
        """Wake all waiters, as `threading.Condition.notify_all`."""
        self._news += 1

    def wait(self, timeout: float | None = None) -> bool:
        """Carry out other steps until `notify_all` or the timeout, as `threading.Condition.wait`."""
        world, seen = self._world, self._news
        self._lock.release()
        until_ns = world.now_ns() + int((timeout if timeout is not None else 1e6) * 1e9)
        told = world.block(lambda: self._news != seen, until_ns)
        self._lock.acquire()
        return told


class SimThread(threading.Thread):
    """A thread of the pool that the scheduler does not run: its target runs at the latest when it is joined."""

    def start(self) -> None:
        """Do nothing: the target runs when the thread is joined."""

    def join(self, timeout: float | None = None) -> None:
        """Run the target now."""
        self.run()

    def is_alive(self) -> bool:
        """Return True: the scheduler keeps every thread of the pool alive."""
        return True


class SimWatch:
    """Wakes the supervisor: each of its turns is a step of the scheduler."""

    def __init__(self, world: State) -> None:
        self._world = world
        self._reactions: dict[int, Callable[[], object]] = {}
        self._ready: dict[int, None] = {}
        self._due_ns = 2**63
        self._asked = False

    def add(self, fd: int, react: Callable[[], object]) -> None:
        """Call `react` in `wait` whenever `fd` is readable."""
        self._reactions[fd] = react
        if self._world.is_readable(fd):
            self.ready(fd)

    def remove(self, fd: int) -> None:
        """Stop watching `fd`, if it is watched."""
        self._reactions.pop(fd, None)

    def ready(self, fd: int) -> None:
        """Report to the supervisor that a descriptor has become readable."""
        if fd in self._reactions:
            self._ready[fd] = None
            self.wake()

    def wake(self) -> None:
        """End the current or the next wait. May be called from any thread, also after `close`."""
        if not self._asked:
            self._asked = True
            world = self._world
            if world.late_ns:
                world.scheduler.at(world.now_ns() + world.late_ns, self._turn, None)
            elif world.plan.traits["lazy_turns"]:
                world.scheduler.last(self._turn, None)
            else:
                world.scheduler.soon(self._turn, None)

    def wait(self, timeout_s: float) -> None:
        """Wait at most `timeout_s` seconds, and call what reacts to the readable descriptors."""

    def close(self) -> None:
        """Close the descriptors. Idempotent."""
        self._reactions.clear()

    def close_in_child(self) -> None:
        """Close this copy's descriptors in a forked child."""

    def _turn_at(self, due_ns: int) -> None:
        if due_ns == self._due_ns and not self._asked:
            self._asked = True
            self._turn(None)

    def _turn(self, _: None) -> None:
        world = self._world
        if world.ended:
            return
        if world.supervising:  # this step came between two steps of the supervisor itself
            world.scheduler.at(world.now_ns(), self._turn, None)
            return
        world.supervising = True
        self._asked = False
        try:
            for fd in list(self._ready):
                del self._ready[fd]
                if fd in self._reactions:
                    self._reactions[fd]()
                if fd in self._reactions and world.is_readable(fd):  # not all was read
                    self.ready(fd)
            sleep_s = world.engine.supervisor.turn()
        finally:
            world.supervising = False
        if sleep_s <= 0:
            self.wake()
        elif not self._asked:
            due_ns = world.now_ns() + int(sleep_s * 1e9)
            if due_ns != self._due_ns or due_ns <= world.now_ns():
                self._due_ns = due_ns
                world.scheduler.at(due_ns, self._turn_at, due_ns)


class SimJobs:
    """The housekeeper's jobs; each job is a step of the scheduler."""

    def __init__(self, world: State, run: Callable[[Callable[[], object]], None]) -> None:
        self._world = world
        self._run = run
        self._jobs: deque[Callable[[], object]] = deque()
        self._busy = False

    def post(self, job: Callable[[], object]) -> None:
        """Queue a job. May be called from any thread. After `stop` only a further `stop` runs it."""
        self._jobs.append(job)
        self._world.scheduler.soon(self._step, None)

    def stop(self, timeout_s: float) -> None:
        """Run the remaining jobs, and end the thread. Waits at most `timeout_s` seconds for a job. May be repeated."""
        while self._jobs:
            self._run(self._jobs.popleft())

    def _step(self, _: None) -> None:
        if self._busy or self._world.scheduler.nested:  # one after another, and never in the middle of a step
            self._world.scheduler.at(self._world.now_ns() + MS, self._step, None)
        elif self._jobs:
            self._busy = True
            try:
                self._run(self._jobs.popleft())
            finally:
                self._busy = False


class SimReplies:
    """The pool's reply pipes."""

    def __init__(self, world: State) -> None:
        self._world = world
        self.free: deque[SimPipe] = deque()

    def take(self) -> SimPipe | None:
        """Return an unused pipe, or None if there is none."""
        return self.free.pop() if self.free else None

    def lacking(self) -> None:
        """Make a pipe after a client has waited without one, unless there are enough."""
        pipes = self._world.pipes
        if self._world.reply_pipes and len(pipes) < MOST_PIPES:
            pipe = pipes[len(pipes) + 1] = SimPipe(self._world, len(pipes) + 1)
            self.free.append(pipe)

    def lost(self) -> None:
        """Record that a worker could not open a pipe."""

    def close(self) -> None:
        """Close the free pipes; each other pipe is closed when its client drops it. Idempotent."""
        self.free = deque(maxlen=0)


class SimProcesses:
    """The pool's processes: scripted workers."""

    def __init__(self, world: State, config: PoolConfig) -> None:
        self._world = world
        self._config = config
        self.name = "simulated"
        self.reply_dir = ""
        self.abilities = Abilities(takes_buffers=True)
        self.in_child = False
        self._count = 0

    def open_figures(self) -> None:
        """See poolproof.bridge.wire.transport.Processes."""

    def next_id(self) -> int:
        """Return an unused worker id."""
        self._count += 1
        return self._count

    def spawn(self, worker_id: int) -> Transport:
        """Start one worker process; its init ping is still to be done. Raises StartFailed."""
        world = self._world
        fault = world.plan.starts.get(worker_id, "")
        world.note("spawn", worker_id)
        if fault in ("error", "crash"):
            world.note("startfail", worker_id)
            for step in ("exit", "reap", "release"):
                world.note(step, worker_id)
            raise StartFailed("no such program") if fault == "error" else OSError("no descriptor is left")
        worker = world.workers[worker_id] = SimWorker(world, worker_id, fault)
        return SimTransport(world, worker, self._config.max_frame_bytes)

    def release(self, transport: Transport) -> None:
        """Forget a reaped worker. No thread may be using it."""
        assert isinstance(transport, SimTransport)
        self._world.note("release", transport.worker.worker_id)
        transport.close()

    def tidy(self) -> None:
        """Reap what this program has adopted from workers that have ended. Never waits."""

    def shut_down(self) -> None:
        """Release the pool's name, after all workers are reaped. Idempotent."""

    def require_owner(self) -> None:
        """Raise PoolClosed in a forked child."""


class HeldTable(dict[int, Ticket]):
    """The coordinator's table of held workers, with a note of each change: which call owns which worker."""

    def __init__(self, world: State) -> None:
        super().__init__()
        self._note = world.note
        self._workers = world.workers

    def __setitem__(self, worker_id: int, ticket: Ticket) -> None:
        self._note("grant", worker_id, ticket.call)
        super().__setitem__(worker_id, ticket)

    def __delitem__(self, worker_id: int) -> None:
        worker = self._workers.get(worker_id)
        unread = worker is not None and bool(worker.transport.stdout or worker.transport.receiver.torn)
        self._note("free", worker_id, self[worker_id].call, int(unread))
        super().__delitem__(worker_id)


def plan_is_whole(plan: Plan) -> bool:
    """Whether this plan never lets another step or an interrupt come at a lock."""
    return not plan.traits["preempt_every"] and not any(op.interrupt in ("point", "twice") for op in plan.ops)


class SimPlatform(Platform):
    """The platform of a simulated pool."""

    def __init__(self, world: State) -> None:
        self._world = world
        self.clock = world.scheduler.clock
        self.io = cast(ClientIo, BlockingIo(world))
        if plan_is_whole(world.plan):
            self.lock = threading.Lock  # nothing ever comes between: the real lock is faster
        else:
            self.lock = lambda: cast(threading.Lock, SimLock(world))
        self.condition = lambda lock: cast(threading.Condition, SimCondition(world, cast(SimLock, lock)))
        self.watch = lambda: cast(Watch, world.watch)
        self.jobs = lambda name, run: cast(Jobs, SimJobs(world, run))
        self.replies = lambda directory: cast(Replies, SimReplies(world))

    def processes(self, config: PoolConfig) -> Processes:
        """Return the pool's worker processes."""
        return SimProcesses(self._world, config)

    def thread(self, target: Callable[[], object], name: str) -> threading.Thread:
        """Return a new thread of the pool, not started yet."""
        return SimThread(target=target, name=name, daemon=True)

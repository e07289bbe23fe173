"""The simulated clients: each makes its operations one after another, by the production code.

An operation is a generator of waits, as in production. The client may be interrupted in any wait, before it takes an
offer, or at any lock on its way.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Callable, Generator, Sequence
from typing import Any, cast

from poolproof.bridge import CommandError, LeaseError, PoolError
from poolproof.bridge.wire.messages import ends_stream
from poolproof.harness.simulation.io import SimIo
from poolproof.harness.simulation.plan import ITEMS, KEYS, MS, Op, must_fail
from poolproof.harness.simulation.state import State
from poolproof.harness.simulation.workers import BAD_KEY
from poolproof.pool_v2.calls.io import ClientIo
from poolproof.pool_v2.calls.lease import Lease
from poolproof.pool_v2.calls.streaming import StreamCall, StreamLeft
from poolproof.pool_v2.core.sessions import Session
from poolproof.pool_v2.core.worker_table import NEVER_NS

Steps = Generator[Any, Any, Any]
LARGEST_PIPE_BYTES = 4000
"""Only if the simulated pipe is at most this large are some requests larger than the pipe."""


class SimClient(SimIo):
    """A client: a thread, or a task if `task` is set."""

    def __init__(self, world: State, ops: Sequence[Op], *, task: bool) -> None:
        super().__init__(world, task=task)
        self._ops = iter(ops)
        self._op: Op | None = None
        self._steps: Steps | None = None
        self._interrupt: type[BaseException] | None = None
        self._armed = ""
        self._left = 0
        self._running = False
        self.io = cast(ClientIo, self)
        self.done = False
        self._kept: list[Lease] = []

    def begin(self) -> None:
        """Schedule the first operation."""
        self._next()

    def _next(self) -> None:
        self._op = next(self._ops, None)
        if self._op is None:
            self.done = True
            self.world.clients_left -= 1
        elif self._op.think_ms:
            self.world.scheduler.at(self.world.now_ns() + self._op.think_ms * MS, self.go_on, self._moment)
        else:
            self.world.scheduler.soon(self.go_on, self._moment)

    # The driver.

    def go_on(self, moment: int) -> None:
        """Continue after a wait."""
        if moment != self._moment or self._running:
            if self._running:  # this step came between two steps of the client itself
                self.world.scheduler.at(self.world.now_ns(), self.go_on, moment)
            return
        world = self.world
        op = self._op
        assert op is not None
        if self._steps is None:
            self._begin(op)
        points, world.points = world.points, 0
        on_point = world.on_point
        if self._armed in ("point", "twice"):
            world.points, world.on_point = self._left, self._interrupt_here
        self._running = True
        steps = self._steps
        assert steps is not None
        try:
            interrupt, self._interrupt = self._interrupt, None
            if interrupt is GeneratorExit:
                steps.close()
                self._outcome(op, "Cancelled")
            else:
                steps.send(None) if interrupt is None else steps.throw(interrupt())
                if self._armed:
                    if self._armed in ("point", "twice"):
                        self._left = world.points or 1
                    else:
                        self._stage()
                return
        except StopIteration:
            pass
        except (KeyboardInterrupt, CancelledError):
            self._outcome(op, "Cancelled")
        finally:
            self._running = False
            world.points, world.on_point = points, on_point
        self._steps = None
        self._armed = ""
        self.asleep = False
        self._moment += 1
        world.note("end", op.index)
        self._next()

    def _begin(self, op: Op) -> None:
        world = self.world
        now = world.now_ns()
        deadline, until = now + op.timeout_ms * MS, now + min(op.timeout_ms, op.wait_ms) * MS
        world.note("invoke", op.index, deadline, until)
        self._armed = op.interrupt
        self._left = op.at + 1
        self._steps = KINDS.get(op.kind, SimClient.call)(self, op, deadline, until)

    def _stage(self) -> None:
        # The client has begun to wait: perhaps the planned interrupt comes during this wait.
        armed, op = self._armed, self._op
        assert op is not None
        kind = CancelledError if armed == "cancel" else GeneratorExit if armed == "drop" else KeyboardInterrupt
        if kind is GeneratorExit and self.may_sleep:
            kind = KeyboardInterrupt  # only a task is dropped
        if armed in ("cancel", "drop") or armed == self.stage:
            self.world.scheduler.at(self.world.now_ns() + op.at * MS // 2, self._strike, (self._moment, kind))
        elif armed == "offered" and self.stage == "waiting":
            self._interrupt_on_offer = True

    _interrupt_on_offer = False

    def wake_up(self) -> None:
        """End the wait."""
        if self.asleep and self._interrupt_on_offer:
            self._interrupt_on_offer = False
            self._interrupt = KeyboardInterrupt
        super().wake_up()

    def _strike(self, planned: tuple[int, type[BaseException]]) -> None:
        moment, kind = planned
        if moment == self._moment and self._steps is not None and not self._running:
            self._armed = ""
            self._interrupt = kind
            self.wake_up()

    def _interrupt_here(self) -> None:
        self.world.points = 3 if self._armed == "twice" else 0
        self._armed = ""
        raise KeyboardInterrupt

    def forget(self) -> None:
        """Drop the operation that the client has begun. Call this only after the end of the simulation."""
        self._steps = None
        self._kept.clear()

    # What is told.

    def on_ticket(self, call: int, session: Session | None) -> None:
        """Record that the pool has made this ticket for the client's call."""
        assert self._op is not None
        self.world.note("number", self._op.index, call)

    def _outcome(self, op: Op, outcome: str, item: int = 0, sent: str = "", value: Any = None) -> None:  # noqa: ANN401
        self.world.note("outcome", op.index, item, outcome, sent, value)

    def _failed(self, op: Op, error: PoolError, item: int = 0) -> None:
        self._outcome(op, type(error).__name__, item, error.sent.value, error.worker_id)

    # The operations.

    def call(self, op: Op, deadline: int, until: int) -> Steps:
        """Make one call."""
        command, args = self._request(op, 0)
        if op.at == 3 and not op.interrupt:
            yield from self.pause("late", self.world.now_ns() + op.index % 4 * MS)  # a thread that is slow to begin
        try:
            value = yield from self.world.engine.calls.execute(self.io, command, args, op.session, deadline, until)
        except PoolError as error:
            self._failed(op, error)
        else:
            self._outcome(op, "result", value=value)

    def _request(self, op: Op, item: int) -> tuple[str, dict[str, Any]]:
        nonce = op.index * ITEMS + item
        command = "put" if op.kind in ("batch_put", "bad_put") else op.kind if op.kind in COMMANDS else "echo"
        if op.kind == "lease" and must_fail(op, item):
            command = "fail"
        args: dict[str, Any] = {"n": nonce}
        if command in ("put", "append"):
            args["key"] = BAD_KEY if op.kind == "bad_put" else f"k{nonce % KEYS}"
        size = op.size
        if op.kind == "big":  # about as large as the pipe, or a few times as large
            size = int(min(self.world.pipe_bytes, LARGEST_PIPE_BYTES) * (0.8 + op.index % 4))
        if size:
            args["pad"] = "x" * size
        return command, args

    def batch(self, op: Op, deadline: int, until: int) -> Steps:
        """Make one batch of calls."""
        requests = [self._request(op, item) for item in range(op.count)]
        items = [args for _, args in requests]
        found = yield from self.world.engine.batch.run(self.io, requests[0][0], items, op.session, deadline, until)
        for item, value in enumerate(found):
            if isinstance(value, PoolError):
                self._failed(op, value, item)
            else:
                self._outcome(op, "result", item, value=value)

    def lease(self, op: Op, deadline: int, until: int) -> Steps:
        """Lease a worker and make some calls, with pauses. Some leases are ended by an exception in their block."""
        engine = self.world.engine
        limit = deadline if op.index % 3 else NEVER_NS
        try:
            lease = yield from engine.leases.open(self.io, None, "lease", None, limit, min(limit, until))
        except PoolError as error:
            self.world.note("no lease", op.index, type(error).__name__, error.sent.value)
            return
        failure: BaseException | None = None
        try:
            for item in range(op.count):
                command, args = self._request(op, item)
                self.world.note("item", op.index, item)
                try:
                    ticket = lease.require_mine()
                    value = yield from engine.leases.execute(self.io, lease, ticket, command, args, op.timeout_ms / 1e3)
                except LeaseError:
                    self.world.note("not called", op.index, item)
                    break
                except CommandError as error:
                    self._failed(op, error, item)
                    continue
                except PoolError as error:
                    self._failed(op, error, item)
                    break
                self._outcome(op, "result", item, value=value)
                if op.index % 2:
                    yield from self.pause("leased", self.world.now_ns() + op.at * MS)
            if op.index % 11 == 3:
                self._kept.append(lease)  # abandoned: its client ends
                self.alive = False
                self.world.note("abandoned", op.index)
                try:
                    yield from self.pause("leased", self.world.now_ns() + 2000 * MS)
                finally:
                    self.alive = True
                return
            if op.index % 11 == 7:
                self.world.note("abandoned", op.index)
                return  # dropped
            if op.index % 11 == 9:
                failure = ValueError("of the block")
                self.world.note("raised", op.index, lease.require_mine().worker_id or 0)
            lease.end(failure)
        except BaseException as error:
            if not lease.ended:
                lease.end(error)
            raise

    def stream(self, op: Op, deadline: int, until: int) -> Steps:
        """Read a stream; every fifth stream is left early."""
        call = StreamCall(
            self.world.engine.streaming,
            self.io,
            "fail" if must_fail(op, 0) else "parts",
            {"n": op.index * ITEMS, "count": op.count},
            op.session,
        )
        try:
            yield from call.begin(deadline, until)
        except PoolError as error:
            self._failed(op, error)
            return
        parts: list[Any] = []
        try:
            while True:
                try:
                    response = yield from call.next_response()
                except BaseException as error:
                    told = call.finish(error)
                    if isinstance(told, PoolError):
                        self._failed(op, told)
                        return
                    raise
                if ends_stream(response):
                    failure = None if response.success else CommandError(str(response.error))
                    call.finish(failure)
                    if failure is not None:
                        self._failed(op, failure)
                    else:
                        self._outcome(op, "result", value=parts if response.more is False else [response.result])
                    return
                parts.append(response.result)
                if op.index % 5 == 4:
                    call.finish(StreamLeft("before its end"))
                    self._outcome(op, "Cancelled")
                    return
        except BaseException as error:
            call.finish(error)
            raise

    def end_session(self, op: Op, deadline: int, until: int) -> Steps:
        """End a session."""
        found = yield from self.world.engine.calls.end_session(self.io, op.session or "")
        self.world.note("ended", op.index, op.session, int(found))

    def status(self, op: Op, deadline: int, until: int) -> Steps:
        """Ask the pool for its status."""
        status = self.world.engine.status()
        numbers = status.statistics
        workers = [(worker.worker_id, worker.state, worker.served) for worker in status.workers]
        self.world.note("status", numbers.submitted, numbers.in_flight, numbers.outcomes, workers, status.waiting)
        return
        yield


COMMANDS = ("echo", "put", "append", "get", "fail")
KINDS: dict[str, Callable[[SimClient, Op, int, int], Steps]] = {
    "batch": SimClient.batch,
    "batch_put": SimClient.batch,
    "lease": SimClient.lease,
    "stream": SimClient.stream,
    "end": SimClient.end_session,
    "status": SimClient.status,
}

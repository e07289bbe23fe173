"""Pools that are wrong in one small way, made by the public interface alone: what a careless wrapper would do.

`poolproof compare --candidate tests.harness.wrong_pools:NAME` must not call any of them SAFE. No scenario was written
for any of them.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from poolproof import PoolConfig, PoolV2
from poolproof.bridge import CheckoutTimeout, CommandError, Health, PoolStatus, QueueFull, Sent, WorkerCrashed

RARELY = 150


class LosesAnAnswer(PoolV2):
    """One answer in 150 is None."""

    _numbers = itertools.count(1)

    def execute(self, command: str, args: dict[str, Any] | None = None, **options: Any) -> Any:
        value = super().execute(command, args, **options)
        return None if next(self._numbers) % RARELY == 0 else value


class GivesThePreviousAnswer(PoolV2):
    """One answer in 150 is that of the call before."""

    _numbers = itertools.count(1)
    _last: Any = None

    def execute(self, command: str, args: dict[str, Any] | None = None, **options: Any) -> Any:
        value, last = super().execute(command, args, **options), self._last
        self._last = value
        return last if next(self._numbers) % RARELY == 0 else value


class CutsLongTexts(PoolV2):
    """A text of more than 4,096 characters lacks its last one."""

    def execute(self, command: str, args: dict[str, Any] | None = None, **options: Any) -> Any:
        value = super().execute(command, args, **options)
        return value[:-1] if isinstance(value, str) and len(value) > 4096 else value


class ForgetsTheSignOfZero(PoolV2):
    """-0.0 becomes 0.0."""

    def execute(self, command: str, args: dict[str, Any] | None = None, **options: Any) -> Any:
        value = super().execute(command, args, **options)
        return value + 0.0 if isinstance(value, float) else value


class CountsInDoubles(PoolV2):
    """A whole number takes a detour through a double."""

    def execute(self, command: str, args: dict[str, Any] | None = None, **options: Any) -> Any:
        value = super().execute(command, args, **options)
        return int(float(value)) if type(value) is int else value


class FoldsSessionNames(PoolV2):
    """Sessions whose names differ in case alone are one."""

    def execute(
        self, command: str, args: dict[str, Any] | None = None, *, session: str | None = None, **options: Any
    ) -> Any:
        return super().execute(command, args, session=session and session.lower(), **options)


class CutsSessionNames(PoolV2):
    """Sessions whose names begin with the same 40 characters are one."""

    def execute(
        self, command: str, args: dict[str, Any] | None = None, *, session: str | None = None, **options: Any
    ) -> Any:
        return super().execute(command, args, session=session and session[:40], **options)


class ForgetsLongSessions(PoolV2):
    """A session is forgotten after its 35th call."""

    def __init__(self, config: PoolConfig | None = None, **options: Any) -> None:
        super().__init__(config, **options)
        self._calls: dict[str, int] = {}

    def execute(
        self, command: str, args: dict[str, Any] | None = None, *, session: str | None = None, **options: Any
    ) -> Any:
        if session is not None:
            self._calls[session] = self._calls.get(session, 0) + 1
            if self._calls[session] == 36:
                self.end_session(session)
        return super().execute(command, args, session=session, **options)


class TriesAgain(PoolV2):
    """A call whose worker crashed is made again."""

    def execute(self, command: str, args: dict[str, Any] | None = None, **options: Any) -> Any:
        try:
            return super().execute(command, args, **options)
        except WorkerCrashed:
            return super().execute(command, args, **options)


class HidesErrors(PoolV2):
    """An error of the command is None."""

    def execute(self, command: str, args: dict[str, Any] | None = None, **options: Any) -> Any:
        try:
            return super().execute(command, args, **options)
        except CommandError:
            return None


class WaitsTooLong(PoolV2):
    """A limit of a call counts for a call that is half as long again, and 6 s more."""

    def execute(
        self, command: str, args: dict[str, Any] | None = None, *, timeout_s: float | None = None, **options: Any
    ) -> Any:
        longer_s = None if timeout_s is None else 1.5 * timeout_s + 6.0
        return super().execute(command, args, timeout_s=longer_s, **options)


class GivesUpEarly(PoolV2):
    """A limit of a call counts for half of its time."""

    def execute(
        self, command: str, args: dict[str, Any] | None = None, *, timeout_s: float | None = None, **options: Any
    ) -> Any:
        return super().execute(command, args, timeout_s=timeout_s and timeout_s / 2, **options)


class MiscountsCalls(PoolV2):
    """The statistics have one result too many."""

    def status(self) -> PoolStatus:
        status = super().status()
        counts = status.statistics
        outcomes = {**counts.outcomes, "result": counts.outcomes.get("result", 0) + 1}
        counts = msgspec.structs.replace(counts, outcomes=outcomes, submitted=counts.submitted + 1)
        return msgspec.structs.replace(status, statistics=counts)


class IsAlwaysWell(PoolV2):
    """Health tells of every worker, whether it lives or not."""

    def health_check(self) -> Health:
        health = super().health_check()
        return msgspec.structs.replace(health, healthy=True, live=health.target, reasons=())


class CallsBusyWorkersIdle(PoolV2):
    """The status calls every worker idle."""

    def status(self) -> PoolStatus:
        status = super().status()
        workers = tuple(msgspec.structs.replace(worker, state="idle") for worker in status.workers)
        return msgspec.structs.replace(status, workers=workers)


class ChangesArguments(PoolV2):
    """The caller's own arguments get one more entry."""

    def execute(self, command: str, args: dict[str, Any] | None = None, **options: Any) -> Any:
        try:
            return super().execute(command, args, **options)
        finally:
            if args is not None:
                args["seen"] = True


class KeepsAKilobyte(PoolV2):
    """Each call keeps a kilobyte."""

    def __init__(self, config: PoolConfig | None = None, **options: Any) -> None:
        super().__init__(config, **options)
        self._kept: list[bytes] = []

    def execute(self, command: str, args: dict[str, Any] | None = None, **options: Any) -> Any:
        self._kept.append(bytes(1000))
        return super().execute(command, args, **options)


class MakesCallsInTurn(PoolV2):
    """One call at a time."""

    _turn = threading.Lock()

    def execute(self, command: str, args: dict[str, Any] | None = None, **options: Any) -> Any:
        with self._turn:
            return super().execute(command, args, **options)


class ForgetsLastWords(PoolV2):
    """A crash lacks what the worker wrote last."""

    def execute(self, command: str, args: dict[str, Any] | None = None, **options: Any) -> Any:
        try:
            return super().execute(command, args, **options)
        except WorkerCrashed as error:
            raise WorkerCrashed("a worker has crashed", sent=error.sent) from None


class DeniesThatItSent(PoolV2):
    """A crash says that nothing was sent."""

    def execute(self, command: str, args: dict[str, Any] | None = None, **options: Any) -> Any:
        try:
            return super().execute(command, args, **options)
        except WorkerCrashed as error:
            error.sent = Sent.NO
            raise


class ClosesAtOnce(PoolV2):
    """A close waits for no call."""

    def close(self, grace_s: float | None = None) -> None:
        super().close(0.0)


class LosesTheLastPart(PoolV2):
    """A stream lacks its last part."""

    def execute_stream(self, command: str, args: dict[str, Any] | None = None, **options: Any) -> Any:
        return _Short(super().execute_stream(command, args, **options))


class _Short:
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __enter__(self) -> Iterator[Any]:
        parts = list(self._stream.__enter__())
        return iter(parts[:-1] if len(parts) > 1 else parts)

    def __exit__(self, *told: Any) -> None:
        self._stream.__exit__(*told)


class TurnsBatchesRound(PoolV2):
    """The answers of a batch of more than three are in reverse order."""

    def execute_many(self, command: str, items: Iterable[dict[str, Any]], **options: Any) -> list[Any]:
        found = super().execute_many(command, items, **options)
        return found[::-1] if len(found) > 3 else found


class StartsEagerly(PoolV2):
    """A lazy pool starts its workers at once."""

    def __init__(self, config: PoolConfig | None = None, **options: Any) -> None:
        super().__init__(config and msgspec.structs.replace(config, lazy=False), **options)


class LetsOneMoreWait(PoolV2):
    """One call more may wait than `max_queue` says."""

    def __init__(self, config: PoolConfig | None = None, **options: Any) -> None:
        if config is not None and config.max_queue is not None:
            config = msgspec.structs.replace(config, max_queue=config.max_queue + 1)
        super().__init__(config, **options)


class ServesOneMore(PoolV2):
    """A worker serves one call more than `max_requests` says."""

    def __init__(self, config: PoolConfig | None = None, **options: Any) -> None:
        if config is not None and config.max_requests is not None:
            config = msgspec.structs.replace(config, max_requests=config.max_requests + 1)
        super().__init__(config, **options)


class GrowsTooFar(PoolV2):
    """One worker more than `overflow` says."""

    def __init__(self, config: PoolConfig | None = None, **options: Any) -> None:
        if config is not None and config.overflow:
            config = msgspec.structs.replace(config, overflow=config.overflow + 1)
        super().__init__(config, **options)


class NeverShrinks(PoolV2):
    """An idle pool keeps its workers."""

    def __init__(self, config: PoolConfig | None = None, **options: Any) -> None:
        if config is not None and config.min_workers is not None:
            config = msgspec.structs.replace(config, min_workers=None, idle_timeout_s=None)
        super().__init__(config, **options)


class LosesAWorker(PoolV2):
    """One call in 150 keeps a worker for a minute."""

    _numbers = itertools.count(1)

    def execute(self, command: str, args: dict[str, Any] | None = None, **options: Any) -> Any:
        if next(self._numbers) % RARELY == 0:
            threading.Thread(target=self._keep, daemon=True).start()
        return super().execute(command, args, **options)

    def _keep(self) -> None:
        try:
            with self.checkout() as worker:
                worker.execute("sleep", {"seconds": 60.0})
        except Exception:
            return


class TrimsTexts(PoolV2):
    """A text loses the space at its ends."""

    def execute(self, command: str, args: dict[str, Any] | None = None, **options: Any) -> Any:
        value = super().execute(command, args, **options)
        return value.strip() if isinstance(value, str) else value


class CallsAFullQueueATimeout(PoolV2):
    """QueueFull is told as CheckoutTimeout."""

    def execute(self, command: str, args: dict[str, Any] | None = None, **options: Any) -> Any:
        try:
            return super().execute(command, args, **options)
        except QueueFull as error:
            raise CheckoutTimeout(str(error)) from None


ALL = sorted(
    name
    for name, found in list(globals().items())
    if isinstance(found, type) and issubclass(found, PoolV2) and found is not PoolV2
)

"""The manager's mailbox: what callers post, the manager takes, one message at a time and in order.

Knows nothing of workers. A message not yet taken can be withdrawn, by its caller or by the pool's close.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from poolproof.bridge import PoolClosed


class Message:
    """One request to the manager, and the place where its reply appears.

    `work` runs in the manager's thread. Exactly one of `value` and `error` is set before `finished` is. One thread
    waits, on a raw lock: an interrupt in the middle of an Event's own code could leave it locked for ever.
    """

    __slots__ = ("_gate", "error", "finished", "value", "work")

    def __init__(self, work: Callable[[], Any]) -> None:
        self.work = work
        self.value: Any = None
        self.error: BaseException | None = None
        self.finished = False
        self._gate = threading.Lock()
        self._gate.acquire()

    def finish(self, value: Any = None, error: BaseException | None = None) -> None:  # noqa: ANN401 - any reply
        """Give the reply. Once."""
        self.value, self.error = value, error
        self.finished = True
        self._gate.release()

    def wait(self, timeout_s: float) -> bool:
        """Wait for the reply at most `timeout_s` seconds; whether it is there."""
        if not self.finished:
            self._gate.acquire(timeout=max(timeout_s, 0.0))
        return self.finished

    def result(self) -> Any:  # noqa: ANN401
        """The reply's value, or raise its error."""
        if self.error is not None:
            raise self.error
        return self.value


class Mailbox:
    """A FIFO queue of messages.

    Invariant: a message leaves `_waiting` exactly once, by `take`, `withdraw` or `close`.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._waiting: deque[Message] = deque()
        # `with` on a raw lock cannot be interrupted between taking it and being sure to give it back.
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._closed = False

    def post(self, message: Message) -> None:
        """Queue a message. Raises PoolClosed after `close`."""
        with self._lock:
            if self._closed:
                raise PoolClosed(f"pool {self._name!r} is closed")
            self._waiting.append(message)
            self._changed.notify()

    def take(self) -> Message | None:
        """The oldest message, waiting for one; None after `close`."""
        with self._lock:
            while not self._waiting:
                if self._closed:
                    return None
                self._changed.wait()
            return self._waiting.popleft()

    def withdraw(self, message: Message) -> bool:
        """Take a message back. False if the manager has it already."""
        with self._lock:
            try:
                self._waiting.remove(message)
            except ValueError:
                return False
            return True

    def close(self) -> bool:
        """Refuse what comes and fail what waits with PoolClosed. False if it was closed before."""
        with self._lock:
            if self._closed:
                return False
            self._closed = True
            left = list(self._waiting)
            self._waiting.clear()
            self._changed.notify_all()
        for message in left:
            message.finish(error=PoolClosed(f"pool {self._name!r} was closed before the call began"))
        return True

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def __len__(self) -> int:
        return len(self._waiting)

"""The manager's mailbox: callers post messages, the manager takes them one at a time and in order.

Independent of workers. A message that the manager has not taken yet can be withdrawn by its caller or by the pool's
close.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from poolproof.bridge import PoolClosed

LOOK_S = 1.0
"""How often the manager looks whether the mailbox was closed by `close_soon`, in seconds."""


class Message:
    """One request to the manager, with a place for its reply.

    `work` runs in the manager's thread. Exactly one of `value` and `error` is set before `finished`. One thread waits,
    on a raw lock: an interrupt inside the code of threading.Event could leave the Event's lock held for ever.
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
        """Set the reply. May be called only once."""
        self.value, self.error = value, error
        self.finished = True
        self._gate.release()

    def wait(self, timeout_s: float) -> bool:
        """Wait for the reply at most `timeout_s` seconds. Returns whether it has arrived."""
        if not self.finished:
            self._gate.acquire(timeout=max(timeout_s, 0.0))
        return self.finished

    def result(self) -> Any:  # noqa: ANN401
        """Return the reply's value, or raise its error."""
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
        # `with` on a raw lock cannot be interrupted between acquiring it and ensuring its release.
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
        """Wait for the oldest message and take it. Returns None after `close`."""
        with self._lock:
            while not self._waiting:
                if self._closed:
                    return None
                self._changed.wait(LOOK_S)
            return self._waiting.popleft()

    def withdraw(self, message: Message) -> bool:
        """Take a message back. Returns False if the manager has already taken it."""
        with self._lock:
            try:
                self._waiting.remove(message)
            except ValueError:
                return False
            return True

    def close_soon(self) -> None:
        """Let `take` return None when nothing waits, at most LOOK_S seconds later. Takes no lock."""
        self._closed = True

    def close(self) -> bool:
        """Refuse new messages, and fail waiting messages with PoolClosed. Returns False if it was already closed."""
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

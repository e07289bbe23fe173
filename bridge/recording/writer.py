"""Records calls: the calling thread only encodes the call and appends it to a list; another thread redacts and writes.

A call never waits for the file, and never fails because of it: what cannot be kept is counted. The file is appended to
in frames that are whole or ignored, so a process may be killed at any time. Credentials that the redaction of
poolproof.bridge.redaction knows never reach the file.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from pathlib import Path
from random import random

import msgspec

from poolproof.bridge.clock import now_ns
from poolproof.bridge.errors import ConfigError, PoolError, Sent
from poolproof.bridge.recording.records import MAGIC, Call, Header, RecordingError, Trailer, frame, join_calls
from poolproof.bridge.redaction import hide_in, may_hold_a_secret, redact, redact_text, secrets_in
from poolproof.bridge.regular_file import write_all

logger = logging.getLogger("poolproof.recording")
WRITE_S = 0.2
MOST_QUEUED = 20_000
MOST_BYTES = 256 * 1024 * 1024
SHARES = 10_000
FRAME_CALLS = 500
"""The most calls of one frame: a process that is killed loses at most the frame that it was writing."""
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Call).decode
_recorders: weakref.WeakSet[Recorder] = weakref.WeakSet()


class Recorder:
    """Writes one recording. Every method may be called from any thread.

    `sample` is the share of sessions, each as a whole, and of calls outside sessions. With `commands`, only these
    commands are recorded. `scrub` gets each call after the redaction, in the writing thread, and returns the call to
    keep, or None. After `max_bytes` nothing more is written. Raises RecordingError if the file exists or cannot be
    made.
    """

    def __init__(
        self,
        file: str | os.PathLike[str],
        *,
        pool: str,
        sample: float = 1.0,
        commands: Collection[str] | None = None,
        scrub: Callable[[Call], Call | None] | None = None,
        max_bytes: int = MOST_BYTES,
    ) -> None:
        if isinstance(sample, bool) or not isinstance(sample, int | float) or not 0 <= sample <= 1:
            raise ConfigError(f"sample {sample!r}: must be a number from 0 to 1")
        if isinstance(max_bytes, bool) or not isinstance(max_bytes, int) or max_bytes < 1024:
            raise ConfigError(f"max_bytes {max_bytes!r}: must be a whole number of bytes from 1024 on")
        self.path = Path(file)
        self._sample = sample
        self._whole = sample == 1 and commands is None
        self._commands = None if commands is None else frozenset(commands)
        self._scrub = scrub
        self._left = max_bytes
        self._began_ns = now_ns()
        self._clients = threading.local()
        self._numbers = itertools.count(1)
        self._queue: deque[bytes] = deque()
        self._writing = threading.Lock()
        self._counting = threading.Lock()  # for what is rare
        self._over = threading.Event()
        self.recording = True
        self.calls = self.dropped = self.unrecordable = 0
        self.trouble = ""
        try:
            self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_APPEND, 0o600)
        except OSError as error:
            raise RecordingError(f"the recording {self.path} cannot be made: {error.strerror}") from error
        header = Header(began=datetime.now(UTC).isoformat(timespec="milliseconds"), pool=pool, sample=sample)
        self._put(MAGIC + frame(_encode(header)))
        _recorders.add(self)
        self._thread = threading.Thread(
            target=_run, args=(weakref.ref(self), self._over), daemon=True, name="recording"
        )
        self._thread.start()

    def note(
        self,
        start_ns: int,
        session: str | None,
        command: str,
        args: object,
        value: object = None,
        error: BaseException | None = None,
    ) -> None:
        """Record a call that has just ended. Never raises and never waits."""
        if not self.recording or not (self._whole or self._takes(session, command)):
            return
        try:
            client = self._clients.number
        except AttributeError:
            client = self._clients.number = next(self._numbers)
        begun, took = start_ns - self._began_ns, now_ns() - start_ns
        try:
            if error is None:
                data = _encode((begun, took, client, session, command, args, "result", value))
            else:
                sent = error.sent if isinstance(error, PoolError) else Sent.MAYBE
                what = (type(error).__name__, None, str(error), sent)
                data = _encode((begun, took, client, session, command, args, *what))
        except Exception:  # whatever the caller passed, the call must not fail
            with self._counting:
                self.unrecordable += 1
            return
        if len(self._queue) >= MOST_QUEUED:
            with self._counting:
                self.dropped += 1
        else:
            self._queue.append(data)

    def _takes(self, session: str | None, command: str) -> bool:
        if self._commands is not None and command not in self._commands:
            return False
        if session is None:
            return random() < self._sample
        digest = hashlib.blake2b(session.encode("utf-8", "surrogatepass"), digest_size=4).digest()
        return int.from_bytes(digest) % SHARES < self._sample * SHARES

    def write(self) -> None:
        """Write what is queued. Called by the recorder's thread."""
        with self._writing:
            left = len(self._queue)
            while left:
                count = min(left, FRAME_CALLS)
                left -= count
                self._write_frame(count)

    def _write_frame(self, count: int) -> None:
        kept = [one for one in (self._clean(self._queue.popleft()) for _ in range(count)) if one is not None]
        if not kept:
            return
        if self.recording and self._put(join_calls(kept)):
            self.calls += len(kept)
        else:
            with self._counting:
                self.dropped += len(kept)

    def _clean(self, data: bytes) -> bytes | None:
        if self._scrub is None and not may_hold_a_secret(data):
            return data
        try:
            call = _decode(data)
            secrets = secrets_in(call.args)
            call = Call(
                call.at_ns,
                call.took_ns,
                call.client,
                call.session,
                call.command,
                redact(call.args),
                call.outcome,
                hide_in(redact(call.value), secrets),
                redact_text(call.error),
                call.sent,
            )
            scrubbed = call if self._scrub is None else self._scrub(call)
            return None if scrubbed is None else _encode(scrubbed)
        except Exception as error:  # a call that cannot be cleaned is not kept
            with self._counting:
                self.unrecordable += 1
            self._fail(f"a call could not be cleaned: {type(error).__name__}", stop=False)
            return None

    def _put(self, data: bytes) -> bool:
        if len(data) > self._left:
            self._fail(f"{self.path} has reached its size; nothing more is recorded")
            return False
        try:
            write_all(self._fd, data)
        except OSError as error:
            self._fail(f"{self.path} cannot be written: {error.strerror}; nothing more is recorded")
            return False
        self._left -= len(data)
        return True

    def _fail(self, told: str, *, stop: bool = True) -> None:
        if told != self.trouble:
            self.trouble = told
            logger.error("%s", told)
        if stop:
            self.recording = False

    def close(self) -> None:
        """Write what is queued and the trailer. Idempotent."""
        if self._over.is_set():
            return
        self._over.set()
        if self._thread is not threading.current_thread():
            self._thread.join()
        self.write()
        with self._writing:
            if self.recording:
                self.recording = False
                trailer = Trailer(calls=self.calls, dropped=self.dropped, unrecordable=self.unrecordable)
                self._left += 1024  # the trailer always has room
                self._put(frame(_encode(trailer)))
            os.close(self._fd)

    def let_go(self) -> None:
        """Record nothing in a forked child: the file is its parent's."""
        self.recording = False
        self._over.set()


def _run(recorder: weakref.ref[Recorder], over: threading.Event) -> None:
    while not over.wait(WRITE_S):
        found = recorder()
        if found is None:
            return
        found.write()
        del found


def _let_go_of_all() -> None:
    for recorder in list(_recorders):
        recorder.let_go()


os.register_at_fork(after_in_child=_let_go_of_all)

"""The code that an executor's worker runs for one call: the user's function, between two entries of a journal.

Any process or thread may be the worker. A thread keeps its own journal, under its number in place of a pid. This file
imports little, because every worker imports it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from poolproof.bridge.worker.journal import Journal


class Work(NamedTuple):
    """One call, as it is sent to a worker. `session` is passed to the function only if the function takes it."""

    function: Callable[..., Any]
    command: str
    args: dict[str, Any]
    session: str | None
    takes_session: bool
    request_id: int
    nonce: str | None
    journals: str | None


class Outcome(NamedTuple):
    """The outcome of the function: its value, or the text of its error."""

    value: Any
    error: str | None = None


def pause(seconds: float) -> int:
    """Wait, so that another worker takes the next call; return the number of this thread."""
    time.sleep(seconds)
    return threading.get_native_id()


_journals: dict[tuple[int, int, str], Journal] = {}


def carry_out(work: Work) -> Outcome:
    """Run the function and return its outcome. An error is returned as text, since not every error can be pickled."""
    journal = _journal(work.journals) if work.journals else None
    entry = journal.begin(work.request_id, work.command, work.nonce) if journal is not None else None
    ok = False
    try:
        options = {"session": work.session} if work.takes_session else {}
        value = work.function(**work.args, **options)
        ok = True
        return Outcome(value)
    except Exception as error:
        return Outcome(None, f"{type(error).__name__}: {error}")
    finally:
        if journal is not None:
            journal.end(entry, ok=ok)


def _journal(folder: str) -> Journal:
    thread = threading.get_native_id()
    key = (os.getpid(), thread, folder)
    if key not in _journals:
        _journals[key] = Journal(0, folder, who=thread)
    return _journals[key]


def forget(folder: str) -> None:
    """Close the journals that threads of this process keep in `folder`."""
    for key in [key for key in _journals if key[0] == os.getpid() and key[2] == folder]:
        _journals.pop(key).close()

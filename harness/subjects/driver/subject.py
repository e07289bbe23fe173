"""Makes a subject of a driver: `driver:COMMAND` on the command line."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from poolproof.bridge import Observer, Pool, PoolConfig
from poolproof.harness.model.errors import UsageError
from poolproof.harness.run.request import Subject
from poolproof.harness.subjects.driver.conversation import Conversation
from poolproof.harness.subjects.driver.messages import JOURNAL, STANDARD_OPTIONS, DriverError, Hello
from poolproof.harness.subjects.driver.pool import EXIT_S, DriverPool, capabilities_of, shake_hands

PREFIX = "driver:"
OF_BYTES = frozenset({"binary"})
"""The commands whose arguments or results have bytes."""


def driver_subject(name: str) -> Subject:
    """Start the driver of `driver:COMMAND` once, to ask what it is, and return its subject.

    Raises UsageError if it cannot be started, or does not follow the protocol.
    """
    return _subject(name, os.getcwd())


@cache
def _subject(name: str, folder: str) -> Subject:  # a command may have paths of the current folder
    command = name.removeprefix(PREFIX)
    if not command.strip():
        raise UsageError(f"the pool {name!r}: driver:COMMAND is needed, such as 'driver:node my_driver.js'")
    hello = ask_driver(command)

    def make(config: PoolConfig, observer: Observer | None) -> Pool:
        return DriverPool(command, config, observer)

    told: dict[str, Any] = {"options": STANDARD_OPTIONS | set(hello.options), "cannot_send": OF_BYTES}
    return Subject(
        name=name,
        summary=hello.summary,
        make=make,
        capabilities=capabilities_of(hello),
        call_timeout_s=hello.call_timeout_s,
        checkout_timeout_s=hello.checkout_timeout_s or hello.call_timeout_s,
        commands=None if hello.commands is None else frozenset(hello.commands),
        **told,
    )


def ask_driver(command: str) -> Hello:
    """Start the driver, ask what it is, and end it. Raises UsageError that says what it did wrong."""
    talk = Conversation(command)
    try:
        hello = shake_hands(talk)
        talk.finish(exit_s=EXIT_S)
    except DriverError as error:
        raise UsageError(str(error)) from error
    finally:
        talk.end()
    return hello


__all__ = ["JOURNAL", "PREFIX", "ask_driver", "driver_subject"]

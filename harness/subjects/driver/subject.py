"""Makes a subject of a driver: `driver:COMMAND` on the command line."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import msgspec

from poolproof.bridge import Observer, Pool, PoolConfig
from poolproof.harness.model.errors import UsageError
from poolproof.harness.model.evidence import Evidence
from poolproof.harness.run.request import Subject
from poolproof.harness.subjects.driver.conversation import Conversation
from poolproof.harness.subjects.driver.messages import (
    JOURNAL,
    STANDARD_OPTIONS,
    STATISTICS,
    DriverError,
    Hello,
    read_hello,
)
from poolproof.harness.subjects.driver.pool import EXIT_S, DriverPool, capabilities_of, shake_hands

PREFIX = "driver:"
SHOWN = {JOURNAL: Evidence.JOURNALS, STATISTICS: Evidence.STATISTICS}
"""The evidence that a driver shows by each of these capabilities."""
TOLD_VARIABLE = "POOLPROOF_DRIVERS"
"""The environment variable that passes the drivers' descriptions of themselves to child processes."""
OF_BYTES = frozenset({"binary"})
"""The commands whose arguments or results have bytes."""


def driver_subject(name: str) -> Subject:
    """Start the driver of `driver:COMMAND` once, ask it to describe itself, and return its subject.

    Raises UsageError if it cannot be started, or does not follow the protocol.
    """
    return _subject(name, os.getcwd())


@cache
def _subject(name: str, folder: str) -> Subject:  # a command may have paths of the current folder
    command = name.removeprefix(PREFIX)
    if not command.strip():
        raise UsageError(f"the pool {name!r}: driver:COMMAND is needed, such as 'driver:node my_driver.js'")
    hello = _known(name, folder) or _remember(name, folder, ask_driver(command))

    def make(config: PoolConfig, observer: Observer | None) -> Pool:
        return DriverPool(command, config, observer)

    return Subject(
        name=name,
        summary=hello.summary,
        make=make,
        capabilities=capabilities_of(hello),
        call_timeout_s=hello.call_timeout_s,
        checkout_timeout_s=hello.checkout_timeout_s or hello.call_timeout_s,
        commands=None if hello.commands is None else frozenset(hello.commands),
        options=STANDARD_OPTIONS | set(hello.options),
        cannot_send=OF_BYTES,
        cannot_show=frozenset(kind for word, kind in SHOWN.items() if word not in hello.capabilities),
    )


def _known(name: str, folder: str) -> Hello | None:
    # What the process above this one was told: a run's own process need not start the driver twice.
    told = _told_before().get(f"{folder} {name}")
    return None if told is None else read_hello(told)


def _remember(name: str, folder: str, hello: Hello) -> Hello:
    known = _told_before() | {f"{folder} {name}": msgspec.to_builtins(hello)}
    os.environ[TOLD_VARIABLE] = msgspec.json.encode(known).decode()
    return hello


def _told_before() -> dict[str, dict[str, Any]]:
    return msgspec.json.decode(os.environ.get(TOLD_VARIABLE, "{}"), type=dict[str, dict[str, Any]])


def ask_driver(command: str) -> Hello:
    """Start the driver, ask it to describe itself, and end it. Raises UsageError that says what it did wrong."""
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

"""A pool's events as log records."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from poolproof.bridge import Event
from poolproof.bridge.telemetry import LoggingObserver


class Keeper(logging.Handler):
    """Keeps the records."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def told(self) -> list[tuple[str, str]]:
        return [(record.levelname, record.getMessage()) for record in self.records]


@pytest.fixture
def keeper() -> Keeper:
    """Keeps what `logger` is told."""
    return Keeper()


@pytest.fixture
def logger(keeper: Keeper) -> logging.Logger:
    """A logger of no hierarchy, at DEBUG."""
    logger = logging.Logger("test", logging.DEBUG)
    logger.addHandler(keeper)
    return logger


def test_a_life_is_one_record_an_event(logger: logging.Logger, keeper: Keeper, served: list[Event]) -> None:
    observer = LoggingObserver("orders", logger=logger)
    for event in served:
        observer(event)
    assert keeper.told() == [
        ("INFO", "pool orders: worker 1 (pid 901) was started"),
        ("INFO", "pool orders: worker 1 (pid 901) is ready"),
        ("DEBUG", "pool orders: call 1: enqueue, worker None "),
        ("DEBUG", "pool orders: call 1: offer, worker 1 "),
        ("DEBUG", "pool orders: call 1: accept, worker 1 "),
        ("DEBUG", "pool orders: call 1: send, worker 1 "),
        ("DEBUG", "pool orders: call 1: receive, worker 1 "),
        ("DEBUG", "pool orders: call 1: checkin, worker 1 "),
        ("DEBUG", "pool orders: call 1: done, worker None result"),
        ("INFO", "pool orders: worker 1 (pid 901) is ended: retired"),
        ("INFO", "pool orders: worker 1 (pid 901) exited with status 0"),
        ("INFO", "pool orders: closed"),
    ]


def test_every_record_has_the_fields(logger: logging.Logger, keeper: Keeper, step: Callable[..., Event]) -> None:
    observer = LoggingObserver("orders", logger=logger)
    observer(step(0, "accept", 7, 3))
    observer(step(1, "kill", worker=3, detail="dirty"))
    fields = ("event", "call", "worker", "pid", "detail", "pool")
    assert [tuple(getattr(record, field) for field in fields) for record in keeper.records] == [
        ("accept", 7, 3, 903, "", "orders"),
        ("kill", None, 3, 903, "dirty", "orders"),
    ]


def test_an_unusual_end_is_a_warning_and_an_expected_one_is_not(
    logger: logging.Logger, keeper: Keeper, step: Callable[..., Event]
) -> None:
    observer = LoggingObserver("p", logger=logger)
    for worker, reason in enumerate(("dirty", "retired", "close", "start failed", "WorkerCrashed")):
        observer(step(worker, "kill", worker=worker, detail=reason))
    assert [record.levelname for record in keeper.records] == ["WARNING", "INFO", "INFO", "WARNING", "WARNING"]


def test_a_death_that_nobody_brought_about_is_a_warning(
    logger: logging.Logger, keeper: Keeper, step: Callable[..., Event]
) -> None:
    observer = LoggingObserver("p", logger=logger)
    observer(step(0, "reap", worker=1, detail="was ended by SIGSEGV"))
    observer(step(1, "kill", worker=2, detail="dirty"))
    observer(step(2, "reap", worker=2, detail="was ended by SIGKILL"))
    assert keeper.told() == [
        ("WARNING", "pool p: worker 1 (pid 901) was ended by SIGSEGV"),
        ("WARNING", "pool p: worker 2 (pid 902) is ended: dirty"),
        ("INFO", "pool p: worker 2 (pid 902) was ended by SIGKILL"),
    ]


def test_where_the_level_is_off_nothing_is_formatted(
    logger: logging.Logger, keeper: Keeper, served: list[Event]
) -> None:
    class Unprintable(str):
        __slots__ = ()

        def __str__(self) -> str:
            raise AssertionError("formatted")

    quiet = logging.Logger("quiet", logging.ERROR)
    quiet.addHandler(keeper)
    for event in served:
        LoggingObserver(Unprintable("p"), logger=quiet)(event)
    assert keeper.records == []
    LoggingObserver(Unprintable("p"), logger=logger)(served[0])
    with pytest.raises(AssertionError, match="formatted"):
        keeper.records[0].getMessage()


def test_an_end_that_was_not_logged_is_known_all_the_same(keeper: Keeper, step: Callable[..., Event]) -> None:
    quiet = logging.Logger("quiet", logging.WARNING)
    quiet.addHandler(keeper)
    observer = LoggingObserver("p", logger=quiet)
    observer(step(0, "kill", worker=1, detail="retired"))
    observer(step(1, "reap", worker=1, detail="exited with status 0"))
    assert keeper.records == []


def test_the_logger_is_that_of_poolproof_unless_another_is_given(
    step: Callable[..., Event], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "poolproof.events"):
        LoggingObserver("p")(step(0, "close"))
    assert [(record.name, record.getMessage()) for record in caplog.records] == [("poolproof.events", "pool p: closed")]

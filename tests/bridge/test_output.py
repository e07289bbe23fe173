"""What workers print is forwarded or logged, and neither a slow reader nor a broken handler delays them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from poolproof.bridge import ConfigError, PoolConfig
from poolproof.bridge.processes.output import shown as output
from poolproof.bridge.processes.output.shown import Output
from poolproof.pool_v1 import PoolV1
from poolproof.pool_v2 import PoolV2


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "poolproof.workers"]


def test_lines_are_logged_whole_with_the_worker_s_name(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    shown = Output("p", log=True)
    for worker, data in (("a", b"one\ntw"), ("b", b"\xff\n"), ("a", b"o\r\nthree"), ("a", b""), ("b", b"four")):
        shown.show(worker, data)
    shown.close()
    assert lines(caplog) == ["a: one", "b: \ufffd", "a: two", "a: three", "b: four"]
    assert {(record.pool, record.worker) for record in caplog.records} == {("p", "a"), ("p", "b")}  # type: ignore[attr-defined]


def test_a_logged_line_controls_no_terminal_and_forges_no_other_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    shown = Output("p", log=True)
    shown.show("a", "failed\rERROR root: forged\x1b[2J\x9b\u2028\u202e\n".encode())
    shown.close()
    assert lines(caplog) == ["a: failed\\rERROR root: forged\\x1b[2J\\x9b\\u2028\\u202e"]


def test_forwarded_output_is_not_changed(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """It may be binary, or a progress bar; who shows text of others logs it."""
    data = bytes(range(256)) + "\x1b[31mred\x1b[0m\r50 %\u202e".encode()
    shown = Output("p", log=False)
    for place in range(0, len(data), 7):
        shown.show("a", data[place : place + 7])
    shown.close()
    assert capfdbinary.readouterr().err == data


def test_an_endless_line_is_logged_in_parts(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    shown = Output("p", log=True)
    shown.show("a", b"x" * (3 * output.MOST_LINE_BYTES))
    shown.close()
    assert lines(caplog) == ["a: " + "x" * output.MOST_LINE_BYTES] * 3


def test_output_that_cannot_be_shown_is_dropped_and_delays_nobody(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, blocked = threading.Event(), threading.Event()

    def block(record: logging.LogRecord) -> bool:
        blocked.set()
        return go_on.wait(60)

    caplog.set_level(logging.INFO)
    monkeypatch.setattr(output, "MOST_WAITING_BYTES", 10)
    logger = logging.getLogger("poolproof.workers")
    logger.addFilter(block)
    try:
        shown = Output("p", log=True)
        shown.show("a", b"first\n")
        assert blocked.wait(60)
        for _ in range(5):
            shown.show("a", b"later\n")
        go_on.set()
        shown.close()
    finally:
        logger.removeFilter(block)
    assert lines(caplog) == ["a: first", "pool p: 24 bytes of its workers' output were dropped", "a: later"]


def test_a_filter_that_raises_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    logger = logging.getLogger("poolproof.workers")

    def fail(record: logging.LogRecord) -> bool:
        return not record.getMessage().endswith("bad") or 1 // 0 > 0

    logger.addFilter(fail)
    try:
        shown = Output("p", log=True)
        shown.show("a", b"bad\n")
        shown.show("a", b"good\n")
        shown.close()
    finally:
        logger.removeFilter(fail)
    assert lines(caplog) == ["pool p: a line of a could not be logged", "a: good"]


@pytest.mark.parametrize("make", [PoolV1, PoolV2])
def test_a_pool_forwards_when_it_is_told_to(make: Callable[..., Any], capfd: pytest.CaptureFixture[str]) -> None:
    command = {"stream": "stderr", "bytes": 200_000}
    for where, count in (("forward", 200_000), ("keep", 0), ("drop", 0), (None, 0)):
        with make(PoolConfig(workers=1, start_timeout_s=60.0, worker_output=where)) as pool:
            pool.execute("print", command)
        assert capfd.readouterr().err.count("p") == count, where


def test_dropped_output_is_in_no_file_and_in_the_error(tmp_path: Path) -> None:
    for where in ("drop", "keep"):
        with PoolV2(PoolConfig(workers=1, worker_output=where, log_dir=str(tmp_path / where))) as pool:
            with pytest.raises(Exception, match="leaving in the middle"):
                pool.execute("exit", {})
        written = [path for path in (tmp_path / where).iterdir() if path.stat().st_size]
        assert bool(written) == (where == "keep")


def test_an_unknown_place_is_refused() -> None:
    with pytest.raises(ConfigError, match="worker_output 'screen': must be None or one of forward, log, keep, drop"):
        PoolConfig(worker_output="screen")

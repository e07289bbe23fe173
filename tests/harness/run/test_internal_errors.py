"""What a pool tells nobody is a finding: an error that it only logs, and a thread of it that dies."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from poolproof.harness.model.verdict import Verdict
from poolproof.harness.run.recording.internal_errors import MOST_KEPT, InternalErrors
from poolproof.harness.run.runner import Request, run
from poolproof.harness.subjects.pools import as_subject
from poolproof.pool_v2 import PoolV2


def test_errors_are_kept_with_their_place_and_warnings_are_not() -> None:
    log = logging.getLogger("poolproof.some.module")
    with InternalErrors() as internal:
        log.warning("only slow")
        logging.getLogger("another").error("not ours")
        try:
            raise ValueError("odd")
        except ValueError:
            log.exception("it broke")
    log.error("afterwards")
    assert len(internal.found) == 1
    assert internal.found[0].startswith("it logged 'it broke': ValueError: odd (test_internal_errors.py:")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_dies_is_kept_and_the_hook_is_put_back() -> None:
    def die() -> None:
        raise KeyError("gone")

    seen: list[Any] = []
    before, threading.excepthook = threading.excepthook, seen.append
    try:
        with InternalErrors() as internal:
            thread = threading.Thread(target=die, name="worker-watch")
            thread.start()
            thread.join()
        assert threading.excepthook == seen.append
    finally:
        threading.excepthook = before
    assert len(seen) == 1
    assert internal.found[0].startswith("thread worker-watch ended with KeyError: 'gone'")


def test_only_the_first_few_are_kept() -> None:
    with InternalErrors() as internal:
        for number in range(MOST_KEPT + 3):
            logging.getLogger("poolproof").error("%d", number)
    assert len(internal.found) == MOST_KEPT


class Grumbling(PoolV2):
    """Answers well, and logs an error at the end."""

    def close(self, grace_s: float | None = None) -> None:
        logging.getLogger("poolproof.pool_v2").error("a lock was not held")
        super().close(grace_s)


def test_a_run_of_a_pool_that_logs_an_error_fails(tiny: Callable[..., Any], tmp_path: Path) -> None:
    result = run(tiny(), as_subject(Grumbling, "grumbling"), Request(), tmp_path)
    assert result.verdict is Verdict.FAIL
    assert any("a lock was not held" in found.claim for found in result.findings)

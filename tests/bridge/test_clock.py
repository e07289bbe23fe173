"""Deadlines: absolute inside, counted from one start."""

from __future__ import annotations

import time

import pytest

from poolproof.bridge import clock


def test_a_deadline_lies_its_timeout_after_the_given_start() -> None:
    assert clock.deadline_ns(1.5, start_ns=10) == 1_500_000_010


def test_a_deadline_counts_from_now_without_a_start() -> None:
    before = time.monotonic_ns()
    deadline = clock.deadline_ns(2.0)
    assert before + 2_000_000_000 <= deadline <= time.monotonic_ns() + 2_000_000_000


def test_what_remains_is_negative_once_the_deadline_has_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock.Clock, "now_ns", staticmethod(lambda: 5_000_000_000))
    assert clock.remaining_s(7_000_000_000) == 2.0
    assert clock.remaining_s(5_000_000_000) == 0.0
    assert clock.remaining_s(4_500_000_000) == -0.5

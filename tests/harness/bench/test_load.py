"""Arrivals: literal times for what is not random, and the same times for the same seed for what is."""

from __future__ import annotations

import itertools

import pytest

from poolproof.harness.model.errors import UsageError
from poolproof.harness.model.timing.load import CLOSED, Load, LoadKind, arrivals, mean_rate, parse_load


def test_each_load_is_read_and_written_as_the_same_words() -> None:
    for text in ("closed", "constant:400", "poisson:12.5", "ramp:100:800", "bursts:50:0.2"):
        assert str(parse_load(text)) == text
    assert parse_load("ramp:100:800") == Load(kind=LoadKind.RAMP, per_s=100, to_per_s=800)
    assert not CLOSED.open
    assert parse_load("poisson:1").open


@pytest.mark.parametrize(
    "text",
    ["", "poison:4", "constant", "constant:0", "constant:-1", "constant:nan", "ramp:1", "bursts:1.5:1", "closed:1"],
)
def test_no_load_names_what_there_is(text: str) -> None:
    with pytest.raises(UsageError, match=r"the load '.*': "):
        parse_load(text)


def test_constant_arrivals_are_evenly_apart() -> None:
    assert arrivals(parse_load("constant:4"), 1.0, seed="1") == (0.0, 0.25, 0.5, 0.75)
    assert arrivals(CLOSED, 1.0, seed="1") == ()


def test_bursts_come_together() -> None:
    assert arrivals(parse_load("bursts:2:0.5"), 1.0, seed="1") == (0.0, 0.0, 0.5, 0.5)


def test_poisson_arrivals_depend_on_the_seed_alone() -> None:
    load = parse_load("poisson:1000")
    one = arrivals(load, 2.0, seed="1")
    assert one == arrivals(load, 2.0, seed="1")
    assert one != arrivals(load, 2.0, seed="2")
    assert list(one) == sorted(one)
    assert one[0] >= 0
    assert one[-1] < 2.0
    assert 1800 < len(one) < 2200  # 2000, with a standard deviation of 45
    gaps = [after - before for before, after in itertools.pairwise(one)]
    mean = sum(gaps) / len(gaps)
    spread = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert 0.9 < spread / mean < 1.1  # exponential gaps spread as much as their mean


def test_a_ramp_has_few_arrivals_at_first_and_many_at_last() -> None:
    found = arrivals(parse_load("ramp:100:900"), 2.0, seed="1")
    early = sum(at_s < 1.0 for at_s in found)
    assert 220 < early < 380  # 300
    assert 600 < len(found) - early < 800  # 700
    assert mean_rate(parse_load("ramp:100:900")) == 500


def test_more_arrivals_than_a_block_can_have_are_refused() -> None:
    with pytest.raises(UsageError, match="at most 1000000 calls"):
        arrivals(parse_load("bursts:1000:0.001"), 2.0, seed="1")

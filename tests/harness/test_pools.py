"""The pools that can be put to the test."""

from __future__ import annotations

import pytest

from bridge import Capability, Pool, PoolConfig
from harness.errors import UsageError
from harness.names import pool_name
from harness.pools import SUBJECTS, find_pool


@pytest.mark.parametrize("name", sorted(SUBJECTS))
def test_a_subject_makes_the_pool_that_it_describes(name: str) -> None:
    subject = find_pool(name)
    pool = subject.make(PoolConfig(name=pool_name("pools", name), workers=1, lazy=True), None)
    try:
        assert isinstance(pool, Pool)
        assert (pool.version, pool.capabilities) == (name, subject.capabilities)
        assert {Capability.EVENTS, Capability.SESSIONS} <= subject.capabilities
    finally:
        pool.close()


def test_the_two_pools_are_known_by_their_names() -> None:
    assert list(SUBJECTS) == ["v1", "v2"]
    assert all(subject.name == name and subject.summary for name, subject in SUBJECTS.items())


@pytest.mark.parametrize(
    ("name", "hint"), [("V2", "did you mean 'v2'"), ("v3", "did you mean"), ("zzz", "there are v1, v2")]
)
def test_an_unknown_pool_is_a_usage_error_with_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(UsageError, match=hint):
        find_pool(name)

"""The options of a pool: an impossible one is refused where it is set, with its name and its limit."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from poolproof.bridge.config import STATE_COMMANDS, PoolConfig, duration
from poolproof.bridge.errors import ConfigError
from poolproof.bridge.wire.messages import encode_request
from poolproof.bridge.worker.handlers import COMMANDS


def test_the_defaults_are_a_possible_pool() -> None:
    config = PoolConfig()
    assert config.command_words()[0] == sys.executable
    assert "{worker_id}" in config.command_words()
    assert config.name is None


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("name", ""),
        ("name", "-a"),
        ("name", ".a"),
        ("name", "a/b"),
        ("name", "a\n"),
        ("name", "x" * 121),
        ("name", 5),
        ("workers", 0),
        ("workers", -1),
        ("workers", 1025),
        ("workers", 2.0),
        ("workers", True),
        ("workers", "4"),
        ("overflow", -1),
        ("max_queue", -1),
        ("max_requests", 0),
        ("max_frame_bytes", 2**32),
        ("stderr_ring_bytes", -1),
        ("stderr_log_bytes", -1),
        ("session_log_bytes", -1),
        ("start_failures_to_open", 0),
        ("start_timeout_s", 0),
        ("start_timeout_s", None),
        ("close_grace_s", -1),
        ("circuit_reset_s", float("nan")),
        ("call_timeout_s", 0),
        ("call_timeout_s", float("inf")),
        ("checkout_timeout_s", True),
        ("checkout_timeout_s", "1"),
        ("lazy", 1),
        ("lazy", None),
        ("worker_command", ()),
        ("worker_command", ""),
        ("worker_command", "  "),
        ("worker_command", ("python", "")),
        ("worker_command", ("python", 5)),
        ("worker_command", ("a\0b",)),
        ("worker_command", "a 'b"),
        ("worker_command", 5),
        ("worker_command", None),
        ("worker_cpus", ()),
        ("worker_cpus", 1),
        ("worker_cpus", "0"),
        ("worker_cpus", (-1,)),
        ("worker_cpus", (1024,)),
        ("worker_cpus", (True,)),
        ("env", {"": "a"}),
        ("env", {"A=B": "a"}),
        ("env", {"A": 1}),
        ("env", {1: "a"}),
        ("env", {"A": "a\0b"}),
        ("env", {"A\0": "a"}),
        ("env", None),
        ("env", [("A", "a")]),
        ("log_dir", 5),
        ("log_dir", ""),
        ("log_dir", "a\0b"),
        ("state_commands", "put"),
        ("state_commands", None),
        ("state_commands", frozenset({1})),
    ],
)
def test_an_impossible_option_is_refused_by_name(option: str, value: object) -> None:
    options: dict[str, Any] = {option: value}
    with pytest.raises(ConfigError, match=option):
        PoolConfig(**options)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("name", "a"),
        ("name", "0.b-c_D"),
        ("name", "x" * 120),
        ("workers", 1),
        ("workers", 1024),
        ("max_queue", 0),
        ("max_queue", None),
        ("max_requests", 1),
        ("stderr_ring_bytes", 0),
        ("stderr_log_bytes", 0),
        ("max_frame_bytes", 2**32 - 1),
        ("call_timeout_s", 0.001),
        ("call_timeout_s", 366 * 86400),
        ("worker_command", ["cat"]),
        ("worker_cpus", [1023]),
        ("worker_cpus", range(2)),
        ("env", {"A": ""}),
        ("log_dir", "logs"),
        ("state_commands", frozenset()),
        ("state_commands", {"put"}),
    ],
)
def test_a_limit_itself_is_possible(option: str, value: object) -> None:
    options: dict[str, Any] = {option: value}
    assert getattr(PoolConfig(**options), option) == value


def test_a_frame_limit_that_no_init_ping_fits_into_is_refused() -> None:
    with pytest.raises(ConfigError, match="max_frame_bytes"):
        PoolConfig(max_frame_bytes=64)
    with pytest.raises(ConfigError, match="max_frame_bytes"):
        PoolConfig(max_frame_bytes=1023)
    assert encode_request(0, "ping", {}, limit_bytes=PoolConfig(max_frame_bytes=1024).max_frame_bytes)


def test_a_command_string_is_split_like_words_of_a_shell() -> None:
    config = PoolConfig(worker_command="python3 -u 'my bridge.py' --worker-id {worker_id}")
    assert config.command_words() == ("python3", "-u", "my bridge.py", "--worker-id", "{worker_id}")


def test_a_command_sequence_is_taken_as_it_is() -> None:
    assert PoolConfig(worker_command=("a b", "$HOME")).command_words() == ("a b", "$HOME")


def test_options_by_name_build_the_same_record() -> None:
    assert PoolConfig.from_options({"workers": 2, "lazy": True}) == PoolConfig(workers=2, lazy=True)


def test_an_unknown_option_is_refused_with_the_nearest_known_one() -> None:
    with pytest.raises(ConfigError, match=r"unknown option 'worker'; did you mean 'workers'\?"):
        PoolConfig.from_options({"worker": 2})


def test_an_unknown_option_that_is_near_to_none_is_refused_alone() -> None:
    with pytest.raises(ConfigError) as caught:
        PoolConfig.from_options({"zzzzzz": 2})
    assert str(caught.value) == "unknown option 'zzzzzz'"


def test_a_config_error_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="workers 0: must be a whole number from 1 to 1024"):
        PoolConfig(workers=0)


def test_a_pool_refuses_options_that_it_does_not_support_only_if_they_were_set() -> None:
    unsupported = ("overflow", "lazy", "env", "state_commands")
    PoolConfig(workers=2).require_defaults(unsupported, pool="v1")
    with pytest.raises(ConfigError, match="v1 does not support the option 'overflow'"):
        PoolConfig(overflow=1).require_defaults(unsupported, pool="v1")
    with pytest.raises(ConfigError, match="'env'"):
        PoolConfig(env={"A": "b"}).require_defaults(unsupported, pool="v1")


def test_a_duration_is_the_first_that_is_set() -> None:
    assert duration("call_timeout_s", None, 2.5, 3.0) == 2.5
    assert duration("call_timeout_s", 1) == 1


def test_a_duration_must_be_set_somewhere() -> None:
    with pytest.raises(ConfigError, match="call_timeout_s None"):
        duration("call_timeout_s", None, None)


def test_a_call_that_sets_zero_does_not_fall_through_to_the_default() -> None:
    with pytest.raises(ConfigError, match="call_timeout_s 0"):
        duration("call_timeout_s", 0, 5.0)


def test_the_state_commands_are_commands_of_the_shipped_worker() -> None:
    assert COMMANDS.keys() >= STATE_COMMANDS

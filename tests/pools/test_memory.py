"""A call that allocates more than the hard limit fails within the call, and only that call."""

from __future__ import annotations

from pathlib import Path

import pytest

from poolproof import PoolConfig, PoolExecutor, PoolV1, PoolV2
from poolproof.bridge import CommandError, ConfigError

MIB = 2**20
COMMANDS = """
def allocate(context, args):
    return len(bytearray(args["bytes"]))

COMMANDS = {"allocate": allocate}
"""


def allocate(size: int) -> int:
    """What the executor runs."""
    return len(bytearray(size))


@pytest.mark.parametrize("kind", ["v1", "v2", "zygote"])
def test_a_call_above_the_hard_limit_fails_within_the_call(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "allocating_commands.py").write_text(COMMANDS)
    monkeypatch.syspath_prepend(str(tmp_path))
    config = PoolConfig(
        workers=1,
        hard_memory_bytes=200 * MIB,
        zygote=kind == "zygote",
        env={"POOLPROOF_COMMANDS": "allocating_commands"},
    )
    with PoolV1(config) if kind == "v1" else PoolV2(config) as pool:
        assert pool.execute("allocate", {"bytes": 50 * MIB}) == 50 * MIB
        with pytest.raises(CommandError, match="MemoryError"):
            pool.execute("allocate", {"bytes": 300 * MIB})
        assert pool.execute("allocate", {"bytes": 50 * MIB}) == 50 * MIB, "its worker goes on"


def test_a_callable_above_the_hard_limit_raises_memory_error() -> None:
    with PoolExecutor(config=PoolConfig(workers=1, hard_memory_bytes=200 * MIB)) as executor:
        assert isinstance(executor.submit(allocate, 300 * MIB).exception(30), MemoryError)
        assert executor.submit(allocate, MIB).result(30) == MIB


def test_a_hard_limit_in_which_no_worker_fits_is_refused() -> None:
    with pytest.raises(ConfigError, match="hard_memory_bytes 1000: must be a whole number from 16777216"):
        PoolConfig(hard_memory_bytes=1000)

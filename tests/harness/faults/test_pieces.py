"""A worker that writes in pieces: the same bytes, in two writes, in a pool that answers as before."""

from __future__ import annotations

from typing import Any

import pytest

from poolproof.bridge import PoolConfig
from poolproof.harness.faults.commands import fault_environment
from poolproof.harness.faults.pieces import FIRST_BYTES, in_pieces
from poolproof.harness.model.fault import PIECES_VARIABLE
from poolproof.pool_v2 import PoolV2


def test_the_first_piece_ends_in_turn_within_the_header_and_behind_it() -> None:
    written: list[bytes] = []
    write = in_pieces(lambda wire, data: written.append(data))
    data = bytes(range(100))
    for _ in FIRST_BYTES:
        write(None, data)
    assert [len(piece) for piece in written[::2]] == list(FIRST_BYTES)
    assert all(one + other == data for one, other in zip(written[::2], written[1::2], strict=True))


def test_a_short_answer_is_one_piece() -> None:
    written: list[bytes] = []
    write = in_pieces(lambda wire, data: written.append(data))
    for _ in range(4):
        write(None, b"a")
    assert written == [b"a"] * 4


@pytest.mark.parametrize("zygote", [False, True])
def test_a_pool_reads_the_pieces_of_its_workers(monkeypatch: pytest.MonkeyPatch, zygote: bool) -> None:
    env: dict[str, Any] = {**fault_environment(), PIECES_VARIABLE: "1"}
    with PoolV2(PoolConfig(workers=1, zygote=zygote, env=env)) as pool:
        assert [pool.execute("echo", {"value": n}) for n in range(20)] == list(range(20))
        assert pool.execute_many("echo", [{"value": "x" * n} for n in range(50)]) == ["x" * n for n in range(50)]

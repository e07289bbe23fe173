"""Your own pool: `poolproof run any_json --pool my_pool:make`, from this folder.

Any class with the methods of `poolproof.bridge.Pool` works; this one only adds a counter to V2. An installed package
can also offer pools by name, in the entry points `poolproof.pools`.
"""

from __future__ import annotations

import itertools
from typing import Any

from poolproof.bridge import Observer, PoolConfig
from poolproof.pool_v2 import PoolV2


class CountingPool(PoolV2):
    """V2 with a counter of its calls."""

    def __init__(self, config: PoolConfig, *, observer: Observer | None = None) -> None:
        super().__init__(config, observer=observer)
        self._asked = itertools.count(1)
        self.asked = 0

    def execute(self, command: str, args: dict[str, Any] | None = None, **options: Any) -> Any:  # noqa: ANN401
        """Count the call, then make it."""
        self.asked = next(self._asked)
        return super().execute(command, args, **options)


def make(config: PoolConfig, observer: Observer | None) -> CountingPool:
    """The factory that `--pool` names."""
    return CountingPool(config, observer=observer)

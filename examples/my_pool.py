"""A pool of one's own: `poolproof run any_json --pool my_pool:make`, from this folder.

Anything that has the methods of `poolproof.bridge.Pool` will do; this one only adds a count to V2. An installed package
can offer its pools by name, too, in the entry points `poolproof.pools`.
"""

from __future__ import annotations

import itertools
from typing import Any

from poolproof.bridge import Observer, PoolConfig
from poolproof.pool_v2 import PoolV2


class CountingPool(PoolV2):
    """V2, which knows how often it was asked."""

    def __init__(self, config: PoolConfig, *, observer: Observer | None = None) -> None:
        super().__init__(config, observer=observer)
        self._asked = itertools.count(1)
        self.asked = 0

    def execute(self, command: str, args: dict[str, Any] | None = None, **options: Any) -> Any:  # noqa: ANN401
        """Count, then serve."""
        self.asked = next(self._asked)
        return super().execute(command, args, **options)


def make(config: PoolConfig, observer: Observer | None) -> CountingPool:
    """The factory that `--pool` names."""
    return CountingPool(config, observer=observer)

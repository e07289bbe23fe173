"""Groups the faces by what they show of the pool, for rules that hold only through some faces. Pure data."""

from __future__ import annotations

ONE_REQUEST_A_CALL = frozenset({"execute", "main_thread", "zygote", "foreign_worker", "asyncio", "uvloop"})
"""The faces through which a worker counts exactly the requests that its journal has."""
DIRECT = ONE_REQUEST_A_CALL | {"lease", "many", "stream"}
"""The faces through which each call waits in the pool's own queue, and in no other."""

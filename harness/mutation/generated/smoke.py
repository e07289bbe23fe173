"""The cheapest killer's program: imports every module of the pools, and makes a few calls through each pool.

`python -m poolproof.harness.mutation.generated.smoke` exits with 0 if all is well.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from contextlib import closing

from poolproof.bridge.processes.interpreter import adopt
from poolproof.harness.mutation.generated.draw import PACKAGES
from poolproof.harness.mutation.generated.tree import PACKAGE

OPTIONAL = ("dspy", "opentelemetry", "prometheus_client", "uvloop", "litellm", "pydantic")
TIMEOUT_S = 20.0


def import_all() -> None:
    """Import every module of the packages. Modules that need an extra that is not installed are left out."""
    for package in PACKAGES:
        home = importlib.import_module(f"{PACKAGE}.{package}")
        for module in pkgutil.walk_packages(home.__path__, f"{home.__name__}."):
            if module.name.endswith(("__main__", "_main", ".program")):
                continue
            try:
                importlib.import_module(module.name)
            except ModuleNotFoundError as error:
                if (error.name or "").partition(".")[0] not in OPTIONAL:
                    raise


def call_all() -> None:
    """Make a plain call, a call of a session and a few calls in a row through each pool. Raises AssertionError."""
    from poolproof.bridge import PoolConfig
    from poolproof.pool_v1 import PoolV1
    from poolproof.pool_v2 import PoolV2

    for make in (PoolV1, PoolV2):
        with closing(make(PoolConfig(workers=2))) as pool:
            for number in range(4):
                value = {"number": number, "text": "ä" * number}
                answer = pool.execute("echo", {"value": value}, timeout_s=TIMEOUT_S)
                if answer != value:
                    raise AssertionError(f"{make.__name__} echoed {answer!r} instead of {value!r}")
            pool.execute_in_session("s", "put", {"key": "k", "value": 1}, timeout_s=TIMEOUT_S)
            found = pool.execute_in_session("s", "get", {"key": "k"}, timeout_s=TIMEOUT_S)
            if not isinstance(found, dict) or found.get("value") != 1:
                raise AssertionError(f"{make.__name__} remembered {found!r} in a session instead of 1")


if __name__ == "__main__":
    adopt()
    import_all()
    call_all()
    sys.exit(0)

"""The pools that can be put to the test, by name. Part of the porch: it may import every room."""

from __future__ import annotations

import difflib

from harness.errors import UsageError
from harness.runner import Subject
from pool_v1 import PoolV1
from pool_v1.pool import CALL_TIMEOUT_S as V1_CALL_TIMEOUT_S
from pool_v2 import PoolV2
from pool_v2.pool import CALL_TIMEOUT_S as V2_CALL_TIMEOUT_S
from pool_v2.pool import CHECKOUT_TIMEOUT_S as V2_CHECKOUT_TIMEOUT_S

SUBJECTS: dict[str, Subject] = {
    "v1": Subject(
        name="v1",
        summary="the legacy pool: one manager thread does all the I/O",
        make=lambda config, observer: PoolV1(config, observer=observer),
        capabilities=PoolV1.capabilities,
        call_timeout_s=V1_CALL_TIMEOUT_S,
        checkout_timeout_s=V1_CALL_TIMEOUT_S,
    ),
    "v2": Subject(
        name="v2",
        summary="the refactored pool: each client does its own I/O on the worker that it checked out",
        make=lambda config, observer: PoolV2(config, observer=observer),
        capabilities=PoolV2.capabilities,
        call_timeout_s=V2_CALL_TIMEOUT_S,
        checkout_timeout_s=V2_CHECKOUT_TIMEOUT_S,
    ),
}


def find_pool(name: str) -> Subject:
    """The pool of that name. Raises UsageError that names the nearest."""
    if name in SUBJECTS:
        return SUBJECTS[name]
    near = difflib.get_close_matches(name, SUBJECTS, n=1, cutoff=0.3)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise UsageError(f"there is no pool {name!r}; there are {', '.join(SUBJECTS)}{hint}")

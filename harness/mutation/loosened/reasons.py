"""Loosenings that are argued to change no verdict, one by one, each with its reason. Pure data.

An entry names the operator, the file, the text of the statement and the change; one that fits no place is stale.
"""

from __future__ import annotations

from poolproof.harness.mutation.generated.equivalents import Equivalent

HARMLESS: tuple[Equivalent, ...] = ()

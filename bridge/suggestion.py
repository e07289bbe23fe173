"""The hint in an error about an unknown name: which of the known names is nearest."""

from __future__ import annotations

from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return "; did you mean 'NAME'?" if one of `known` is as similar to `name` as `cutoff` (0 to 1) says; else ""."""
    import difflib  # not at the top: no worker needs it to start

    near = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f"; did you mean {near[0]!r}?" if near else ""

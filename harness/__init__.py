"""The harness: scenarios, runs, histories, checkers, verdicts."""

from __future__ import annotations

if __name__ == "harness":
    raise ImportError("there is no package harness: import poolproof.harness")

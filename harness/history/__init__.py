"""The history of a run: what was recorded, and what can be computed from it."""

"""The limits for v2: what is kept of the calls of both pools, and when a difference is no accident."""

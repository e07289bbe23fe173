"""Forks workers from one warm process that has imported their modules."""

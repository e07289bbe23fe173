"""The calls of a bench, and the check of each answer."""

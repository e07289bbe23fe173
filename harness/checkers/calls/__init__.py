"""Checkers of calls: what was answered, once, in time and in order."""

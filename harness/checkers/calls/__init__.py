"""Checkers of calls: whether each call is answered correctly, once, in time and in order."""

"""Scenarios of waiting: side by side, in turn, with limits."""

"""Recorded traffic: replayed on both pools at its own times, and compared, call by call."""

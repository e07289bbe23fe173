"""Scenarios of workers that fail to start, exit, or exhaust their resources."""

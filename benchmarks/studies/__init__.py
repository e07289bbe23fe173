"""Measurements of the harness, recording and migration, each started by itself: `python -m benchmarks.studies.NAME`."""

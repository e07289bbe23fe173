"""Generates scenarios from numbers: configuration, calls, values, timings and faults that nobody picked by hand."""

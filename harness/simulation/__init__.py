"""Runs V2's production code in virtual time, from a seed, with scripted workers and injected faults."""

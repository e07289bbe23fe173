"""Stored benches: named baselines, and the index."""

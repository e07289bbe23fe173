"""Benches: loads, paired blocks, verdicts with intervals, budgets, sweeps, baselines, and an index of benches."""

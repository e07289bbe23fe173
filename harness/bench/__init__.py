"""The laboratory: loads, paired blocks, verdicts with intervals, budgets, sweeps, baselines, the index of benches."""

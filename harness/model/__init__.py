"""Data types of a run: scenarios, workloads, faults, operations, verdicts. Pure."""

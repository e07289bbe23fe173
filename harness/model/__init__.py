"""What a run is about: scenarios, workloads, faults, operations, verdicts. Pure."""

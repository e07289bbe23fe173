"""Lifecycle tests: forks, interrupts and abandoned leases, which a workload cannot express."""

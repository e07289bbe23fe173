"""Checkers of pools: workers, leases, sessions, resources, faults and the close."""

"""Reduces a run to the fewest operations, clients and faults with which a finding still shows."""

"""Scenarios of sessions and leases."""

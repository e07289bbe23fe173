"""Fault injection: how each fault is applied to a running pool."""

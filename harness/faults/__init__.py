"""Faults: how each is inflicted on a running pool."""

"""Scenarios of the clients and processes that use a pool: they end, fork or close the pool."""

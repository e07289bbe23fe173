"""Scenarios of those who use a pool: clients and processes that end, fork or close."""

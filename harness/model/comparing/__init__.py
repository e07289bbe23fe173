"""Compares two JSON values: by comparers that a user gives, and by the noise that a pool's own answers show."""

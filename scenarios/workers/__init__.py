"""Scenarios of workers that start badly, end, or use up what they have."""

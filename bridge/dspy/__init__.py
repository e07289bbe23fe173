"""Programs on real DSPy in a worker, and the typed adapter for their callers."""

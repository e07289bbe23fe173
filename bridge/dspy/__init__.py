"""Real DSPy programs in a worker, and the typed adapter for their callers."""

"""Shadow mode: copies of calls for the new pool, and what becomes of their answers."""

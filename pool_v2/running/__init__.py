"""A pool that runs: its state, its supervisor and housekeeper, hooks and events."""

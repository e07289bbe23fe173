"""A running pool: its state, its supervisor and housekeeper, hooks and events."""

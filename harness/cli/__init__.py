"""The command `poolproof`."""

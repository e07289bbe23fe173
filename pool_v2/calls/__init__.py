"""The path of a call: its steps, leases, batches and streams."""

"""What a run records: calls, events and journals as they happen, worker processes, and resources."""

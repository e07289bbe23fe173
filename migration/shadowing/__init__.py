"""Shadow mode: sends copies of calls to v2 and compares the responses."""

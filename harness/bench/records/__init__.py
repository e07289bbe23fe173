"""What is kept of benches: named baselines and the index."""

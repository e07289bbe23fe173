"""V2 as a concurrent.futures.Executor."""

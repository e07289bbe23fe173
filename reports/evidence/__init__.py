"""The evidence for single calls, read from the records of the runs: requests, answers, times, events, stderr."""

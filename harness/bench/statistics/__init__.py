"""The statistics of benches: intervals, verdicts, trends. Pure."""

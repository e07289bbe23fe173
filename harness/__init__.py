"""The harness: scenarios, runs, histories, checkers, verdicts."""

"""Commands that measure: bench, sweep, baseline, history. Entry points."""

"""Commands that search for faults in a pool, in the harness itself, or in a driver. Entry points."""

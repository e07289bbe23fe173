"""How a timed scenario is measured: its load, and the budget that its figures must keep. Pure."""

"""What a run recorded, and what can be read from it."""

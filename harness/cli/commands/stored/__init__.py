"""Commands that read stored results. Entry points."""

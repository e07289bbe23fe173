"""Commands of a migration from one pool to another. Entry points."""

"""The optional sections of a report, and the tables of single calls."""

"""The pool under test: its configuration, its warm-up before a run, and probes of it from outside."""

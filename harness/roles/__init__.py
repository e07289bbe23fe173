"""Your calls in the roles of a test: one that is quick, one that waits, one that fails, one that keeps a session.

A file calls.py has one module-level `Calls`; `poolproof compare calls.py` runs the scenarios over its roles.
"""

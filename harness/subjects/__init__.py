"""Subjects: the pools that can be tested by name, their faces, and adapters for other packages' pools."""

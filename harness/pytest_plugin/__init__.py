"""The pytest plugin and the conformance kit."""

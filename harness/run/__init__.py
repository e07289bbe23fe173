"""Runs one scenario on one pool: the run's process, clients, recorder and folder."""

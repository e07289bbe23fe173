"""Fakes: model servers, scripted workers, and a pool without processes."""

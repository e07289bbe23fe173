"""Mutation operators: small changes of a Python source, each of which turns it into a source with one bug. Pure."""

"""The suite dspy: real DSPy programs on both pools, over a model server on loopback."""

"""The suite dspy: real DSPy programs on both pools, with a model server on the loopback interface."""

"""How fast V2 is, beside a bare pipe, V1, and the pools that people use today. `python -m benchmarks` measures."""

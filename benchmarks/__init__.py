"""Benchmarks: the speed of V2 compared with a bare pipe, V1 and widely used pools. Run `python -m benchmarks`."""

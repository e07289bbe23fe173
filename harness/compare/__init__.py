"""One comparison: the runs of both pools, their differences, and the judgement."""

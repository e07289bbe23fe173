"""The runs of a comparison, each in a job of its own."""

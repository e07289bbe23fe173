"""The commands of `poolproof`, a file for each family. Part of the porch."""

"""The commands of `poolproof`, a file for each family. Entry point."""

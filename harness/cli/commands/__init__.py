"""The commands of `poolproof`, a module for each family. Entry point."""

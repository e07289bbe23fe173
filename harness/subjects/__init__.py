"""What can be put to the test: pools by name, faces, other packages."""

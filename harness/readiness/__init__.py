"""Whether a migration may begin: the checklist, and what it is decided from."""

"""The readiness check before a migration: the checklist and its evidence."""

"""The processes that follow the state of a migration: where the state is, who follows it, and how it is changed."""

"""The worker's program: its loop, its journal and its handlers."""

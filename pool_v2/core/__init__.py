"""The decisions of V2: queue, grants, replacement of workers, sessions, circuit. Pure."""

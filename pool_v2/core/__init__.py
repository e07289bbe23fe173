"""What V2 decides: the queue, grants, replacement, sessions, the circuit. Pure."""

"""What workers print: read, kept in logs of limited size, and shown."""

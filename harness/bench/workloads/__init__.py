"""What a bench calls, and the check of each answer."""

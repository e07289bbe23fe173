"""The self-check of the harness: planted bugs that it must find, and good pools that it must not accuse."""

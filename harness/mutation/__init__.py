"""The harness put to the test itself: planted bugs that it must find, and good pools that it must not accuse."""

"""Scenarios of waiting: concurrent calls, queues, timeouts."""

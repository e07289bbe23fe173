"""The wire: frames, messages, and the exchange of requests and responses."""

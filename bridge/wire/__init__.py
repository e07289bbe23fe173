"""The wire protocol: frames, messages, and the exchange of requests and responses."""

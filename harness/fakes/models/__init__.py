"""Models without a network: an OpenAI-compatible server on loopback whose answers are a function of the prompt."""

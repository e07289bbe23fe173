"""Models that need no network: an OpenAI-compatible server on loopback whose answers follow from the prompt."""

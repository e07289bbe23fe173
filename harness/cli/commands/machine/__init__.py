"""Commands about this machine and the pools that live on it. Entry points."""

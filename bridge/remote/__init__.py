"""Workers on other nodes: an agent on each node starts them, and hands each its own connections from the client."""

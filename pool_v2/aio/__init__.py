"""V2 for asyncio."""

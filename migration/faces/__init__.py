"""Ways to call two pools as one: asyncio, executors, callables."""

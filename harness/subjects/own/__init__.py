"""Subjects of a user's own: an executor, a coroutine function, a callable or an HTTP service, with what it can do.

    from poolproof import executor_pool
    New = executor_pool(lambda: ProcessPoolExecutor(4), summarize)

Each function of this package returns a factory of pools for `--pool`. The calls to make are in a file of their own:
see poolproof.harness.roles.
"""

"""Adapters that give other packages' pools the interface of Pool, so that scenarios can run on them.

    pip install 'poolproof[peers]'
    poolproof run --pool poolproof.harness.subjects.peers.loky:POOL

Each module has one `POOL`. The workers run the shipped worker's handlers. An adapter does not claim what its peer
cannot do; scenarios that need it are skipped with the reason.
"""

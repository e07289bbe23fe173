"""Pools of other makers behind our interface, so that the scenarios can be run on them: `poolproof[peers]`.

Each module has one `POOL`: `poolproof run --pool poolproof.harness.subjects.peers.loky:POOL`. Their workers run the
shipped worker's handlers. What a peer cannot do it does not claim, and scenarios that need it are skipped with the
reason.
"""

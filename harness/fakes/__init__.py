"""Stand-ins: model servers, scripted workers, a pool without processes."""

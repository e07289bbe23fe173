"""One test-suite at three depths: without a process, over the wire to a scripted worker, and for real."""

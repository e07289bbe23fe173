"""The three backends of one test suite: without a process, with a scripted worker on the wire, and real workers."""

"""Run directories: one owner for each pool name on this machine, and the record of its workers."""

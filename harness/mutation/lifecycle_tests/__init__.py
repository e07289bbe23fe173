"""What no workload can do, done to a pool: forks, interrupts, abandoned leases."""

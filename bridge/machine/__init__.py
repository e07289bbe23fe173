"""What the machine tells this process: processors, memory, control groups, other processes and file locks."""

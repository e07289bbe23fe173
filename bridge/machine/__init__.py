"""What the machine gives this process: processors and memory, as its control groups limit them."""

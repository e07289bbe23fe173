"""What is done with stored comparisons: one is judged again, two are compared with each other."""

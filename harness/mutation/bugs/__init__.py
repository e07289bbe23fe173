"""The planted bugs, by the part of the product that they are in."""

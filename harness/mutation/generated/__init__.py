"""Generated mutants: bugs that operators plant at random places, and what finds them."""

"""How fast a cell may be charged, and what a charge must not pass."""

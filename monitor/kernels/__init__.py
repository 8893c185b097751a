"""What is computed a sample: compiled loops over arrays, no I/O."""

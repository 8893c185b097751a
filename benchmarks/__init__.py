"""What measures the product: each figure as a ratio to a named baseline in the same run."""

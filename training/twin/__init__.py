"""The digital twin's parameters: fitted and judged."""

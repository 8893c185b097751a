"""The state-of-health model: trained and judged."""

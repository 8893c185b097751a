"""The thermal model: trained and judged."""

"""The forecasts of fade: trained and judged."""

"""Recordings through the monitor's own engine, offline: health, heat, advice, forecast, report."""

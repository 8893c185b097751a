"""Alarms out to other programs."""

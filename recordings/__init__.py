"""Readers of published and generic recordings of cells."""

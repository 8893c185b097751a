"""The broker's edge: connections in and out."""

"""HTTP: the server, who may see it, and what it tells of the monitor's health."""

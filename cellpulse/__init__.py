"""The command line, and the wiring of broker, simulator, monitor and page."""

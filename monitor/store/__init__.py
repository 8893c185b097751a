"""What is kept: the journal, its checkpoints, and the way to InfluxDB."""

"""What publishes telemetry in a BMS's place: replayed recordings, a digital twin, faults."""

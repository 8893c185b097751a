"""The monitor: bytes in; estimates, alarms and a journal out. It imports nothing else of ours."""

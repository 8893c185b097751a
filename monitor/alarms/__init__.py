"""Rules, the alarm book, and what operators ask of it."""

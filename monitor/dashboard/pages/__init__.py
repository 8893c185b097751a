"""What the pages show: Dash components, pure."""

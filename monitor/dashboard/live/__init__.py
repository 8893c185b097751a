"""The newest state of every asset, from the broker to every browser."""

"""What a screen compares, tests and ranks, as tables."""
